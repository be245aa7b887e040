"""How tensors start: `init` statements."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Protocol

from archdsl.diagnostics import did_you_mean
from archdsl.elaborate.contexts import Context
from archdsl.elaborate.evaluate import evaluate
from archdsl.elaborate.faults import Fault
from archdsl.elaborate.state import State
from archdsl.elaborate.types import show_value
from archdsl.initializers import SCHEMES, refusal
from archdsl.ir import Initializer
from archdsl.ir.trusted import new_initializer
from archdsl.layer import Layer, kind
from archdsl.syntax import tree as t
from archdsl.values import Shape


class Used(Protocol):
    """A layer that is used: a step, or what counts of it."""

    @property
    def op(self) -> Layer:
        """The layer."""

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        """Shapes of its inputs."""


def initializers(
    state: State, layers: Collection[Used], paths: Mapping[str, Used]
) -> Iterator[Initializer]:
    """Yield the initialisation of tensors from `init` statements; report wrong ones.

    Args:
        state: has the statements.
        layers: the layers of the network, at least one of those that are equal.
        paths: the layers that statements can name, by path.
    """
    for statement, context in state.inits:
        try:
            if statement.kind:
                found = _check_kind(statement, context, layers, paths)
            else:
                found = [_check_layer(statement, context, paths)]
            yield from _initializer(statement, context, _flat(found))
        except Fault as fault:
            state.report(fault, context)


def _flat(layers: Iterable[Used]) -> set[str]:
    """Return the names of tensors that have no fan, as they have at most one axis."""
    tensors = [tensor for s in layers for tensor in s.op.tensors(*s.input_shapes)]
    return {"bias", *(tensor.name for tensor in tensors if len(tensor.shape) < 2)}


def _initializer(
    statement: t.Init, context: Context, flat: set[str]
) -> Iterator[Initializer]:
    for setting in statement.settings:
        if setting.name not in ("weight", "bias"):
            raise Fault(
                "A0201",
                f"init sets `weight` and `bias`, not `{setting.name}`",
                setting.span,
            )
        scheme, arguments = _scheme(setting.value, context)
        if setting.name in flat and scheme.startswith(("kaiming", "xavier")):
            raise Fault(
                "A0204",
                f"{scheme}: a {setting.name} with a single axis has no fan",
                setting.value.span,
                help="give it a number, or use `normal` or `uniform`",
            )
        yield new_initializer(
            kind=statement.kind,
            path=context.space.join(statement.path) if statement.path else "",
            tensor=setting.name,
            scheme=scheme,
            arguments=tuple(arguments.items()),
        )


def _check_kind(
    statement: t.Init,
    context: Context,
    layers: Collection[Used],
    paths: Mapping[str, Used],
) -> list[Used]:
    """Refuse a kind that is not used there, or that has no such tensor.

    Returns:
        The layers of the kind.
    """
    if kind(statement.kind) is None:
        raise Fault("A0106", f"`{statement.kind}` is not a layer kind", statement.span)
    where = "the network"
    if statement.path:
        owner = context.space.join(statement.path)
        where = f"`{owner}`"
        layers = [paths[path] for path in paths if path.startswith(f"{owner}.")]
    found = [used for used in layers if used.op.word == statement.kind]
    if not found:
        raise Fault(
            "A0305",
            f"{where} has no layer of the kind {statement.kind}",
            statement.span,
            label="this sets nothing",
            help="drop it, or put it in an `if`",
        )
    names = {t.name for s in found for t in s.op.tensors(*s.input_shapes)}
    for setting in statement.settings:
        if setting.name not in names and not (setting.name == "bias" and names):
            raise Fault(
                "A0201",
                f"{statement.kind} has no {setting.name}",
                setting.span,
                help=f"it has {', '.join(sorted(names))}" if names else None,
            )
    return found


def _check_layer(
    statement: t.Init, context: Context, paths: Mapping[str, Used]
) -> Used:
    """Refuse a path without a layer, or whose layer has no such tensor.

    Returns:
        The layer.
    """
    path = context.space.join(statement.path)
    step = paths.get(path)
    if step is None:
        near = did_you_mean(path, paths)
        raise Fault(
            "A0107",
            f"no layer is named `{path}`",
            statement.span,
            help=near or "a path starts from where the `init` stands",
        )
    names = sorted(tensor.name for tensor in step.op.tensors(*step.input_shapes))
    for setting in statement.settings:
        if setting.name not in names:
            raise Fault(
                "A0201",
                f"{path} has no {setting.name}",
                setting.span,
                help=f"it has {', '.join(names)}" if names else None,
            )
    return step


def _scheme(expr: t.Expr, context: Context) -> tuple[str, dict[str, Any]]:
    if not isinstance(expr, t.FunctionCall | t.Name):
        value = evaluate(expr, context)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Fault(
                "A0204", f"{show_value(value)} cannot initialise a tensor", expr.span
            )
        return "constant", {"val": float(value)}
    name = expr.name if isinstance(expr, t.FunctionCall) else expr.id
    scheme = SCHEMES.get(name)
    if scheme is None:
        raise Fault(
            "A0104",
            f"there is no initialisation `{name}`",
            expr.span,
            help=did_you_mean(name, SCHEMES) or f"there are {', '.join(SCHEMES)}",
        )
    arguments: dict[str, Any] = {}
    for arg in expr.args if isinstance(expr, t.FunctionCall) else []:
        if arg.name is None or arg.name not in scheme.arguments:
            raise Fault(
                "A0201",
                f"{name} takes {', '.join(scheme.arguments)}, by name",
                arg.span,
            )
        wanted, _ = scheme.arguments[arg.name]
        arguments[arg.name] = _scheme_argument(name, arg, wanted, context)
    if why := refusal(name, arguments):
        raise Fault("A0204", f"{name}: {why}", expr.span)
    return name, arguments


def _scheme_argument(scheme: str, arg: t.Arg, wanted: type, context: Context) -> Any:
    value: Any = evaluate(arg.value, context)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise Fault(
            "A0204", f"{scheme}: `{arg.name}` cannot be {show_value(value)}", arg.span
        )
    if isinstance(value, str) and value not in _INIT_WORDS:
        raise Fault(
            "A0204",
            f'{scheme}: `{arg.name}` cannot be "{value}"',
            arg.span,
            help=did_you_mean(value, _INIT_WORDS),
        )
    return value


_INIT_WORDS = (
    "fan_in",
    "fan_out",
    "linear",
    "relu",
    "leaky_relu",
    "sigmoid",
    "tanh",
    "selu",
)
