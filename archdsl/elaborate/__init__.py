"""Syntax tree to IR: parameters bound, loops unrolled, shapes checked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakSet

from archdsl.diagnostics import Diagnostic, Diagnostics, SpecError, did_you_mean
from archdsl.elaborate import static
from archdsl.elaborate.bind import as_names, bind_block
from archdsl.elaborate.builder import Parts, Producer, parameters_of
from archdsl.elaborate.evaluate import evaluate, is_number, show
from archdsl.elaborate.fitting import MOST_STEPS, fitting_sizes
from archdsl.elaborate.library import prelude
from archdsl.elaborate.memo import Memo
from archdsl.elaborate.scope import Budget, Context, Fault, Namespace, Value
from archdsl.elaborate.walk import Walker
from archdsl.figures import CLAIMED
from archdsl.initializers import SCHEMES, refusal
from archdsl.ir import Expectation, Group, Initializer, Network, Port, Step
from archdsl.layer import kind
from archdsl.source import Span
from archdsl.syntax import tree as t
from archdsl.syntax.loader import Module
from archdsl.values import Shape

# Files whose names have been checked; the result does not change.
_RIGHT: WeakSet[Module] = WeakSet()
_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")


def elaborate(
    module: Module,
    *,
    preset: str | None = None,
    params: Mapping[str, Any] | None = None,
    input: Shape | None = None,
    symbolic: bool = True,
    memo: Memo | None = None,
) -> Network:
    """Return one network of a spec, checked and with every shape known.

    Args:
        module: the loaded spec.
        preset: name of a preset or network of the spec; its default if None.
        params: values of network parameters, which override those of the preset.
        input: shape of the first input, which overrides the spec's.
        symbolic: whether integers carry the expressions that code generation needs.
        memo: results from other networks of the spec; only if `symbolic` is not set.

    Raises:
        SpecError: with all errors.
    """
    walker = _walker(symbolic, memo)
    return _attempted(walker, module, preset, params or {}, input, [])


class Attempt(NamedTuple):
    """A network as far as it goes.

    Attributes:
        network: the network, if nothing is wrong with it.
        parameters: values of its parameters, as far as they are known.
        parts: the finished steps and groups at the level of the network itself.
        steps: all steps so far, also those of parts that are not finished.
        diagnostics: what is wrong.
    """

    network: Network | None
    parameters: Mapping[str, Any]
    parts: Sequence[Step | Group]
    steps: tuple[Step, ...]
    diagnostics: list[Diagnostic]


def attempt(
    module: Module,
    *,
    preset: str | None = None,
    params: Mapping[str, Any] | None = None,
    input: Shape | None = None,
    symbolic: bool = True,
    memo: Memo | None = None,
) -> Attempt:
    """Elaborate one network of a spec as far as it goes; see `elaborate`."""
    walker = _walker(symbolic, memo)
    parts: Parts = []
    network: Network | None = None
    wrong: list[Diagnostic] = []
    try:
        network = _attempted(walker, module, preset, params or {}, input, parts)
    except SpecError as error:
        wrong = error.diagnostics
    made = walker.producers.values()
    steps = tuple([step for step in made if isinstance(step, Step)])
    return Attempt(network, walker.parameters, parts, steps, wrong)


def _walker(symbolic: bool, memo: Memo | None) -> Walker:
    if memo is not None:
        memo.begin()
    return Walker(Diagnostics(), symbolic, prelude(), memo)


def _attempted(
    walker: Walker,
    module: Module,
    preset: str | None,
    params: Mapping[str, Any],
    input: Shape | None,
    parts: Parts,
) -> Network:
    """Return the network, whose parts are entered as they are made.

    Raises:
        SpecError: with all errors.
    """
    errors = walker.errors
    check_names(module, walker)
    try:
        definition, chosen = choose(module, preset)
        changed = bool(params) or input is not None
        walker.input_override = input
        network = _network(walker, module, definition, chosen, params, changed, parts)
    except Fault as fault:
        if fault.code:
            errors.add(fault.diagnostic())
        network = None
    if errors.found and all(e.span in walker.sizes_differ for e in errors.found):
        chose = module, definition, chosen, params
        errors.found[0].later = partial(_other_sizes, walker, *chose)
    errors.raise_if_any()
    assert network is not None
    return network


def _other_sizes(
    walker: Walker,
    module: Module,
    definition: t.Definition,
    preset: t.Preset | None,
    params: Mapping[str, Any],
) -> str:
    """Return a hint that lists input sizes that fit, if the given one does not."""
    budget = Budget(MOST_STEPS)

    def fits(shape: Shape) -> bool:
        trial = Walker(Diagnostics(), False, walker.prelude)
        trial.input_override, trial.budget = shape, budget
        try:
            _, _, end = walk(trial, module, definition, preset, params, [])
        except (Fault, SpecError):
            return False
        return not trial.errors.found and end.shape is not None

    found = fitting_sizes(walker.inputs[0].shape, fits)
    # If the steps are used up, a size may fail only because of that.
    return found if budget.left > 0 else ""


def check_names(module: Module, walker: Walker) -> None:
    """Check the names of a spec, unless that was done just before."""
    if module not in _RIGHT:
        static.check(module, walker.prelude, walker.errors)
        if not walker.errors.found:
            _RIGHT.add(module)


def check_module(module: Module) -> None:
    """Check what the names of a spec refer to, for all its networks.

    Raises:
        SpecError: with all errors.
    """
    walker = Walker(Diagnostics(), False, prelude())
    check_names(module, walker)
    walker.errors.raise_if_any()


def check_parameters(module: Module, preset: str | None, params: Iterable[str]) -> None:
    """Refuse names that are not parameters of a network.

    Raises:
        SpecError: naming the first one, or if there is no such preset.
    """
    try:
        definition, _ = choose(module, preset)
        _check_known(definition, params)
    except Fault as fault:
        raise SpecError([fault.diagnostic()]) from None


def choose(module: Module, name: str | None) -> tuple[t.Definition, t.Preset | None]:
    """Return the network to elaborate, and the preset that sets its parameters.

    Raises:
        Fault: if there is none with that name, or no default without a name.
    """
    networks, presets = module.networks, module.presets
    if not networks:
        raise Fault(
            "A0601",
            "the file defines no network",
            Span(module.file.source, 0, 1),
            help="add `network name { input 3x224x224 ... }`",
        )
    if name is None:
        return _default(module, networks, presets)
    if name in presets:
        return _of_preset(presets[name], networks), presets[name]
    if name in networks:
        return networks[name], None
    known = [*presets, *networks]
    raise Fault(
        "A0602",
        f"{module.file.source.name} has no preset or network `{name}`",
        None,
        help=did_you_mean(name, known) or f"it has {', '.join(known)}",
    )


def _default(
    module: Module, networks: dict[str, t.Definition], presets: dict[str, t.Preset]
) -> tuple[t.Definition, t.Preset | None]:
    defaults = [p for p in presets.values() if p.is_default]
    if len(defaults) > 1:
        raise Fault("A0101", "two presets are the default", defaults[1].span)
    if defaults:
        return _of_preset(defaults[0], networks), defaults[0]
    if len(networks) > 1:
        raise Fault(
            "A0601",
            f"the file defines several networks: {', '.join(networks)}",
            list(networks.values())[1].span,
            help="name one: SPEC:NAME, or mark a `default preset`",
        )
    return next(iter(networks.values())), None


def _of_preset(preset: t.Preset, networks: dict[str, t.Definition]) -> t.Definition:
    if preset.network not in networks:
        raise Fault(
            "A0104",
            f"there is no network `{preset.network}`",
            preset.network_span,
            help=did_you_mean(preset.network, networks),
        )
    return networks[preset.network]


# ---- one network ------------------------------------------------------------


def _network(
    walker: Walker,
    module: Module,
    definition: t.Definition,
    preset: t.Preset | None,
    params: Mapping[str, Any],
    changed: bool,
    parts: Parts,
) -> Network | None:
    values, context, end = walk(walker, module, definition, preset, params, parts)
    if walker.errors.found or end.shape is None:
        return None
    walker.read.add(end.number)
    check_read(walker)
    expectations = [] if changed else _expectations(walker, preset, context)
    root = Group(
        role="network",
        name="",
        path="",
        word=definition.name,
        origin=definition.span.source.name,
        doc=definition.doc,
        indexed=definition.indexed,
        parameters=tuple(parameters_of(definition, values)),
        lets=tuple(context.space.lets.items()),
        children=tuple(parts),
        input=walker.inputs[0].value,
        input_shape=walker.inputs[0].shape,
        output=end.number,
        shape=end.shape,
        span=definition.span,
    )
    starts = tuple(initializers(walker))
    walker.errors.raise_if_any()
    return Network(
        name=preset.name if preset else definition.name,
        inputs=tuple(walker.inputs),
        outputs=(
            Port(name="output", value=end.number, shape=end.shape),
            # Training-only outputs come last, as inference leaves them out.
            *sorted(walker.outputs, key=lambda port: port.training),
        ),
        root=root,
        initializers=starts,
        expectations=tuple(expectations),
    )


def walk(
    walker: Walker,
    module: Module,
    definition: t.Definition,
    preset: t.Preset | None,
    params: Mapping[str, Any],
    parts: Parts,
) -> tuple[dict[str, Any], Context, Value]:
    """Walk over a network's statements; return its parameters and what they build."""
    outside = Context(module, {}, Namespace("", False, None), budget=walker.budget)
    angle = list(preset.angle) if preset else []
    values = bind_block(
        definition,
        _with_overrides(definition, angle, params),
        preset.span if preset else definition.span,
        outside,
        outside,
    )
    env = as_names(definition, values, outside) if walker.symbolic else values
    space = Namespace("", definition.indexed, None)
    context = outside.replace(env=env, space=space)
    walker.definition, walker.parameters = definition, values

    def build(value: Value, inner: Context, out: Parts) -> Value:
        return walker.body(definition.body, value, inner, out)

    end = walker.whole(build, Value(0, ()), context, parts)
    end.read()
    if not walker.met_input and not walker.faults:
        walker.report(
            Fault(
                "A0306",
                f"network `{definition.name}` has no input",
                definition.span,
                help="begin it with `input 3x224x224`",
            ),
            context,
        )
    return values, context, end


def _with_overrides(
    definition: t.Definition, angle: list[t.Arg], params: Mapping[str, Any]
) -> list[t.Arg]:
    """Return the arguments of a preset, overridden by those from outside."""
    names = [p.name for p in definition.params]
    _check_known(definition, params)
    kept: list[t.Arg] = []
    for at, argument in enumerate(angle):
        name = argument.name or (names[at] if at < len(names) else "")
        if name in params:
            # The position is kept, so that positional arguments still line up.
            argument = t.Arg(
                argument.name, _given(params[name], argument.span), argument.span
            )
        kept.append(argument)
    set_already = {
        a.name or (names[i] if i < len(names) else "") for i, a in enumerate(angle)
    }
    for name, value in params.items():
        if name not in set_already:
            kept.append(t.Arg(name, _given(value, definition.span), definition.span))
    return kept


def _check_known(definition: t.Definition, params: Iterable[str]) -> None:
    names = [p.name for p in definition.params]
    for name in params:
        if name not in names:
            raise Fault(
                "A0603",
                f"network `{definition.name}` has no parameter `{name}`",
                definition.span,
                help=did_you_mean(name, names)
                or (f"its parameters are {', '.join(names)}" if names else None),
            )


def _given(value: Any, span: Span) -> t.Expr:
    """Return a value from outside as an expression."""
    if isinstance(value, t.Expr):
        return value
    if isinstance(value, list | tuple):
        return t.ListExpr(span, [_given(v, span) for v in value])
    return t.Literal(span, value, show(value))


def check_read(walker: Walker) -> None:
    """Report inputs and results that are never read."""
    for port in walker.inputs:
        if port.value not in walker.read:
            walker.errors.add(
                Diagnostic(
                    "A0305",
                    f"the input `{port.name}` is never used",
                    walker.input_spans[port.value],
                    label="nothing reads it",
                    help=f"read it by a tap: `@{port.name}`",
                )
            )
    for number, step in walker.producers.items():
        if number not in walker.read:
            walker.errors.add(
                Diagnostic(
                    "A0305",
                    f"the result of {step.path} is never used",
                    step.span,
                    label="nothing reads it",
                    help="a tap such as `@label` starts from another value; "
                    "drop the layer, or join both by `concat` or `add`",
                )
            )
    for tapped in walker.tapped:
        # A loop can repeat one mistake ten thousand times.
        if not tapped.is_read and not walker.errors.knows("A0305", tapped.span):
            walker.errors.add(
                Diagnostic(
                    "A0305",
                    f"what `{tapped.span.text}` stands for is not used here",
                    tapped.span,
                    label="nothing reads it before the next tap",
                    notes=tuple(call.note() for call in tapped.trail),
                    help="a loop makes no branches; a `for` behind a branch does: "
                    "`concat { @label{i} for i in range(3) }`",
                )
            )


# ---- init and expect --------------------------------------------------------


def initializers(walker: Walker) -> Iterable[Initializer]:
    """Yield the initialisation of tensors from `init` statements; report wrong ones."""
    steps = {step.path: step for step in walker.producers.values()}
    for statement, context in walker.inits:
        try:
            if statement.kind:
                found = _check_kind(statement, context, steps.values())
            else:
                found = [_check_layer(statement, context, steps)]
            yield from _initializer(statement, context, _flat(found))
        except Fault as fault:
            walker.report(fault, context)


def _flat(steps: Iterable[Producer]) -> set[str]:
    """Return the names of tensors that have no fan, as they have at most one axis."""
    tensors = [tensor for s in steps for tensor in s.op.tensors(*s.input_shapes)]
    return {"bias", *(tensor.name for tensor in tensors if len(tensor.shape) < 2)}


def _initializer(
    statement: t.Init, context: Context, flat: set[str]
) -> Iterable[Initializer]:
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
                f"{scheme}: a {setting.name} of a single axis has no fan",
                setting.value.span,
                help="give it a number, or draw it by `normal` or `uniform`",
            )
        yield Initializer(
            kind=statement.kind,
            path=context.space.join(statement.path) if statement.path else "",
            tensor=setting.name,
            scheme=scheme,
            arguments=tuple(arguments.items()),
        )


def _check_kind(
    statement: t.Init, context: Context, steps: Collection[Producer]
) -> list[Producer]:
    """Refuse a kind that is not used there, or that has no such tensor.

    Returns:
        The layers of the kind.
    """
    if kind(statement.kind) is None:
        raise Fault("A0106", f"`{statement.kind}` is not a layer kind", statement.span)
    found = [step for step in steps if step.op.word == statement.kind]
    where = "the network"
    if statement.path:
        where = f"`{context.space.join(statement.path)}`"
        found = [s for s in found if s.path.startswith(f"{where.strip('`')}.")]
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
    statement: t.Init, context: Context, steps: Mapping[str, Producer]
) -> Producer:
    """Refuse a path without a layer, or whose layer has no such tensor.

    Returns:
        The layer.
    """
    path = context.space.join(statement.path)
    step = steps.get(path)
    if step is None:
        near = did_you_mean(path, steps)
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
    if not isinstance(expr, t.Function | t.Name):
        value = evaluate(expr, context)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Fault("A0204", f"{show(value)} is not how a tensor starts", expr.span)
        return "constant", {"val": float(value)}
    name = expr.name if isinstance(expr, t.Function) else expr.id
    scheme = SCHEMES.get(name)
    if scheme is None:
        raise Fault(
            "A0104",
            f"there is no initialisation `{name}`",
            expr.span,
            help=did_you_mean(name, SCHEMES) or f"there are {', '.join(SCHEMES)}",
        )
    arguments: dict[str, Any] = {}
    for arg in expr.args if isinstance(expr, t.Function) else []:
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
            "A0204", f"{scheme}: `{arg.name}` cannot be {show(value)}", arg.span
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


def _expectations(
    walker: Walker, preset: t.Preset | None, context: Context
) -> list[Expectation]:
    found: list[Expectation] = []
    stated = list(walker.expects)
    if preset is not None and preset.expect is not None:
        stated.append((preset.expect, context))
    for statement, where in stated:
        for item in statement.items:
            try:
                found.append(_expectation(item, where))
            except Fault as fault:
                walker.report(fault, context)
    return found


def _expectation(item: t.Expectation, context: Context) -> Expectation:
    test = item.test
    if test is None:
        assert item.measure is not None
        _check_measure(item.measure, item.span)
        return Expectation(
            measure=item.measure, op="==", value=item.dims, span=item.span
        )
    if (
        not isinstance(test, t.Binary)
        or test.op not in _COMPARISONS
        or not isinstance(test.left, t.Name)
    ):
        raise Fault(
            "A0402",
            "a claim compares a figure with a value",
            item.span,
            help="write `expect params == 1_000` or `expect output 1000`",
        )
    _check_measure(test.left.id, test.left.span)
    value = evaluate(test.right, context)
    parts = value if isinstance(value, tuple) else (value,)
    if not all(map(is_number, parts)):
        raise Fault(
            "A0207",
            f"a claim compares with a number or sizes, not {show(value)}",
            test.right.span,
        )
    return Expectation(measure=test.left.id, op=test.op, value=value, span=item.span)


def _check_measure(name: str, span: Span) -> None:
    if name not in CLAIMED:
        raise Fault(
            "A0402",
            f"`{name}` is not a figure of a network",
            span,
            help=did_you_mean(name, CLAIMED) or f"the figures are {', '.join(CLAIMED)}",
        )
