"""Arguments of a call, bound to what a layer kind or a block declares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from archdsl.diagnostics import did_you_mean
from archdsl.elaborate.contexts import Context
from archdsl.elaborate.evaluate import evaluate
from archdsl.elaborate.faults import Fault
from archdsl.elaborate.labels import names_read
from archdsl.elaborate.references import BlockRef, BodyRef, KindRef, plain_argument
from archdsl.elaborate.tensors import named
from archdsl.elaborate.types import (
    WORDS_OF_TYPES,
    counted,
    has_type,
    show_value,
    type_name,
)
from archdsl.layer import Field, Layer
from archdsl.limits import MAX_INTEGER
from archdsl.source import Span
from archdsl.symbolic import SymFloat
from archdsl.syntax import tree as t
from archdsl.values import MOST_AXES, Dims, sizes


def bind_layer(call: t.Call, ref: KindRef, context: Context) -> Layer:
    """Return the layer that a call describes.

    Raises:
        Fault: if an argument is unknown, missing, of the wrong type or out of range.
    """
    kind = ref.kind
    if call.angle is not None:
        raise Fault(
            "A0201",
            f"{kind.word} takes its arguments after the word, not in < >",
            call.span,
            help=f"write {_usage(kind)}",
        )
    if call.body is not None and kind.arity == 1:
        raise Fault(
            "A0208",
            f"{kind.word} takes no layers in braces",
            call.span,
            help=f"write its input before it: `{{ ... }} -> {kind.word}`",
        )
    values: dict[str, Any] = {}
    places: dict[str, t.Expr] = {}
    for field, argument in fields_of(call, kind):
        if field.name in values:
            raise Fault(
                "A0206",
                f"{kind.word}: `{field.name}` is given twice",
                argument.span,
                help="give it once",
            )
        values[field.name] = _field_value(kind, field, argument, context)
        places[field.name] = argument.value
    for name, (argument, place) in ref.bound.items():
        if name not in values:
            field = kind.fields[name]
            values[name] = plain_argument(_field_value(kind, field, argument, place))
            places[name] = argument.value
    for field in kind.required:
        if field.name not in values:
            raise Fault(
                "A0202",
                f"{kind.word}: `{field.name}` is missing ({field.help})",
                call.span,
                help=f"write {_usage(kind)}",
            )
    if kind.windows:
        _spread(kind, values, places, context)
    return kind(**values)


def bind_again(
    layer: Layer, varying: Iterable[tuple[Field, t.Arg]], context: Context
) -> Layer:
    """Return the layer that a call describes, if it described another one before.

    Args:
        layer: the other one.
        varying: the arguments whose values may differ.
        context: the context of the call.

    Raises:
        Fault: as for `bind_layer`.
    """
    kind = type(layer)
    values: dict[str, Any] = {}
    places: dict[str, t.Expr] = {}
    for field, argument in varying:
        values[field.name] = _field_value(kind, field, argument, context)
        places[field.name] = argument.value
    if not values.keys().isdisjoint(kind.windows):
        _spread(kind, values, places, context)
    return layer.replace(**values)


def fields_of(call: t.Call, kind: type[Layer]) -> Iterator[tuple[Field, t.Arg]]:
    """Yield the arguments of a call, each with the field that it gives a value.

    Raises:
        Fault: if a kind has no such argument.
    """
    positional, taken = kind.positional, 0
    for argument in call.args:
        if argument.name is None:
            if taken >= len(positional):
                raise _too_many(kind, argument, len(positional))
            yield positional[taken], argument
            taken += 1
        else:
            yield _field(kind, argument), argument


def map_axes(context: Context) -> int | None:
    """Return the spatial axes of the map that flows into a call; None if it is not
    known, 0 for a vector.

    Behind a mistake, they are taken to be those of the block's input.
    """
    for value in (context.space.current, context.space.entry):
        if value is not None and value.shape is not None:
            return len(value.shape) - 1
    return None


def _spread(
    kind: type[Layer],
    values: dict[str, Any],
    places: Mapping[str, t.Expr],
    context: Context,
) -> None:
    """Give every window a size for each axis of the map, in place.

    Raises:
        Fault: if one has another number of sizes, or a size that is out of range.
    """
    own = map_axes(context)
    given = {n: values[n] for n in kind.windows if n in values}
    dims = [len(value) for value in given.values() if isinstance(value, Dims)]
    axes = own or (dims[0] if dims else 2)
    for name, value in given.items():
        if value is None or isinstance(value, str):
            continue
        parts = value if isinstance(value, Dims) else (value,) * axes
        if len(parts) != axes or axes > MOST_AXES:
            wanted = min(axes, MOST_AXES)
            raise Fault(
                "A0204",
                f"{kind.word}: `{name}` has {len(parts)} sizes instead of {wanted}",
                places[name].span,
                help=_order(wanted, len(parts)),
            )
        for part in parts:
            _check_range(kind, kind.fields[name], part, places[name])
        values[name] = tuple(parts)


def _order(axes: int, given: int) -> str:
    """Return a hint which sizes belong to a map with some axes."""
    if axes == 1:
        image = ", or `input 3x224x224` for an image" if given == 2 else ""
        return f"the map has a single spatial axis: write one number{image}"
    names = "height x width" if axes == 2 else "depth x height x width"
    return f"the sizes are {names}"


def _usage(kind: type[Layer]) -> str:
    """Return how a kind is written, such as ``conv 3x3 64 /2``."""
    examples = {"window": "3x3", "int": "64", "float": "0.5"}
    words = [kind.word]
    words += [examples.get(f.type, f"<{f.name}>") for f in kind.positional]
    return f"`{' '.join(words)}`"


def _too_many(kind: type[Layer], argument: t.Arg, count: int) -> Fault:
    takes = f"at most {count}" if count else "no"
    return Fault(
        "A0203",
        f"{kind.word} takes {takes} arguments without a name",
        argument.span,
        label="one too many",
        help=_known_arguments(kind),
    )


def _known_arguments(kind: type[Layer]) -> str:
    names = [f"`{f.name}`" for f in kind.fields.values()]
    if not names:
        return f"{kind.word} has no arguments"
    return f"the arguments of {kind.word} are {', '.join(names)}"


def _field(kind: type[Layer], argument: t.Arg) -> Field:
    if argument.name == "/":
        for field in kind.fields.values():
            if field.position == "/":
                return field
        raise Fault(
            "A0201",
            f"{kind.word} has no stride",
            argument.span,
            help=_known_arguments(kind),
        )
    field_ = kind.fields.get(argument.name or "")
    if field_ is None:
        raise Fault(
            "A0201",
            f"{kind.word} has no argument `{argument.name}`",
            argument.span,
            help=did_you_mean(argument.name or "", kind.fields)
            or _known_arguments(kind),
        )
    return field_


def _field_value(
    kind: type[Layer], field: Field, argument: t.Arg, context: Context
) -> Any:
    expr = argument.value
    word = isinstance(expr, t.Name) and expr.id in field.choices
    if field.type == "choice" or word:
        return _choice(kind, field, expr, context)
    value: Any = evaluate(expr, context)
    if isinstance(value, str) and value in field.choices:
        return value
    if field.type == "window":
        return _window(kind, field, argument, value, context)
    if not has_type(value, field.type):
        raise _wrong_type(kind, field, expr, value)
    if field.type != "bool":
        _check_range(kind, field, value, expr)
    return float(value) if _plain_int(value) and field.type == "float" else value


def _plain_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _choice(kind: type[Layer], field: Field, expr: t.Expr, context: Context) -> str:
    if isinstance(expr, t.Name) and expr.id in field.choices:
        return expr.id
    value = (
        expr.id
        if isinstance(expr, t.Name) and expr.id not in context.env
        else evaluate(expr, context)
    )
    if isinstance(value, str) and value in field.choices:
        return value
    raise Fault(
        "A0204",
        f"{kind.word}: `{field.name}` must be one of {', '.join(field.choices)}",
        expr.span,
        help=did_you_mean(str(value), field.choices),
    )


def _window(
    kind: type[Layer], field: Field, argument: t.Arg, value: Any, context: Context
) -> Any:
    expr = argument.value
    literal = isinstance(expr, t.Literal) and _plain_int(expr.value)
    if literal and argument.name is None and (map_axes(context) or 0) > 1:
        n = int(value)
        raise Fault(
            "A0204",
            f"{kind.word}: `{field.name}` is written as sizes, not as {n}",
            expr.span,
            help=_as_sizes(n, context),
        )
    if not _plain_int(value) and not isinstance(value, Dims):
        raise _wrong_type(kind, field, expr, value)
    return value


def _as_sizes(n: int, context: Context) -> str:
    """Return a hint how to write a number as sizes, for the map that flows in."""
    current = context.space.current
    found = sizes(current.shape) if current and current.shape else ()
    if len(found) == 2 and found[0] == 1 < found[1]:
        return f"the map is one row: write `1x{n}`"
    if len(found) == 2 and found[1] == 1 < found[0]:
        return f"the map is one column: write `{n}x1`"
    if len(found) == 2 and n > max(found):
        return "sizes are height x width, such as `3x3`"
    return f"write `{'x'.join([str(n)] * (len(found) or 2))}`"


def _wrong_type(kind: type[Layer], field: Field, expr: t.Expr, value: Any) -> Fault:
    words = (
        "sizes such as 3x3" if field.type == "window" else WORDS_OF_TYPES[field.type]
    )
    return Fault(
        "A0204",
        f"{kind.word}: `{field.name}` must be {words}, not {show_value(value)}",
        expr.span,
        label=field.help,
        help="round it by `int(...)`, `round(...)` or `//`"
        if field.type == "int" and isinstance(value, float)
        else None,
    )


def _check_range(kind: type[Layer], field: Field, value: float, expr: t.Expr) -> None:
    low, high = field.minimum, field.maximum
    if (low is not None and value < low) or (high is not None and value > high):
        bounds = f"at least {low:g}" if high is None else f"from {low:g} to {high:g}"
        raise Fault(
            "A0205",
            f"{kind.word}: `{field.name}` must be {bounds}, not {show_value(value)}",
            expr.span,
        )
    if abs(value) > MAX_INTEGER:
        raise Fault(
            "A0903", f"a number is larger than {MAX_INTEGER:,} (31 bits)", expr.span
        )


# ---- blocks -----------------------------------------------------------------


def bind_block(
    definition: t.Definition,
    angle: list[t.Arg],
    span: Span,
    context: Context,
    defaults: Context,
    body: t.Body | None = None,
    bound: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the value of every parameter of a block, in order.

    Args:
        definition: the block or network.
        angle: the arguments in angle brackets.
        span: the call, for messages.
        context: where the arguments are evaluated.
        defaults: where the definition's defaults are evaluated.
        body: layers in braces, passed as the parameter `body`.
        bound: arguments given earlier, which the call can override.

    Raises:
        Fault: if an argument is unknown, missing, given twice or of the wrong type.
    """
    params, _ = _declared(definition)
    if len(params) < len(definition.params):
        raise Fault(
            "", "it declares a parameter twice, which is reported elsewhere", None
        )
    given: dict[str, Any] = {}
    places: dict[str, Span] = {}
    taken = 0
    for argument in angle:
        name = argument.name
        if name is None:
            if taken >= len(definition.params):
                raise Fault(
                    "A0203",
                    f"`{definition.name}` takes "
                    f"{counted(len(params), 'argument') if params else 'no arguments'}",
                    argument.span,
                    label="one too many",
                    help=_signature(definition),
                )
            name = definition.params[taken].name
            taken += 1
        elif name not in params:
            raise Fault(
                "A0201",
                f"`{definition.name}` has no parameter `{name}`",
                argument.span,
                help=did_you_mean(name, params) or _signature(definition),
            )
        if name in given:
            raise Fault(
                "A0206",
                f"`{definition.name}`: `{name}` is given twice",
                argument.span,
                help="give it once",
            )
        given[name] = evaluate(argument.value, context)
        places[name] = argument.value.span
    if body is not None:
        if "body" not in params:
            raise Fault(
                "A0208",
                f"`{definition.name}` takes no layers in braces",
                span,
                help="give it a parameter `body: block` to pass layers in",
            )
        given["body"] = BodyRef(body, context)
    given = {**(bound or {}), **given}
    _check_all_count(definition, given, places)
    return _complete(definition, given, places, span, defaults)


def _check_all_count(
    definition: t.Definition, given: Mapping[str, Any], places: Mapping[str, Span]
) -> None:
    """Refuse an argument that only affects the default of another one that is given,
    too.

    Raises:
        Fault: naming both.
    """
    readers = _readers(definition)
    for name in readers.keys() & places.keys():
        served = [name]
        for known in served:
            served += [r for r in readers.get(known, ()) if r not in given]
        if not any(each in _body_reads(definition) for each in served):
            rivals = (r for each in served for r in readers.get(each, ()))
            instead = next(rival for rival in rivals if rival in given)
            raise Fault(
                "A0105",
                f"`{definition.name}`: `{name}` changes nothing where `{instead}` is "
                "given",
                places[name],
                label=f"only the default of `{instead}` reads it",
                help="drop one of the two",
            )


@lru_cache(maxsize=256)
def _readers(definition: t.Definition) -> dict[str, tuple[str, ...]]:
    """Return, for each parameter, the parameters whose defaults use it.

    Those without a default are not included, since they cannot be omitted.
    """
    reads = [(p.name, names_read(p.default)) for p in definition.params if p.default]
    return {
        param.name: readers
        for param in definition.params
        if param.default
        and (readers := tuple(name for name, read in reads if param.name in read))
    }


@lru_cache(maxsize=256)
def _body_reads(definition: t.Definition) -> frozenset[str]:
    return frozenset(names_read(definition.body))


@lru_cache(maxsize=256)  # asked for with every call
def _declared(
    definition: t.Definition,
) -> tuple[dict[str, t.Param], dict[str, str | None]]:
    """Return the parameters of a block, and their types, by name."""
    params = {param.name: param for param in definition.params}
    types = {name: param.type or _default_type(param) for name, param in params.items()}
    return params, types


def _complete(
    definition: t.Definition,
    given: Mapping[str, Any],
    places: Mapping[str, Span],
    span: Span,
    defaults: Context,
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    params, types = _declared(definition)
    for name, param in params.items():
        if name in given:
            value = given[name]
            place = places.get(name, span)
        elif param.default is not None:
            # A default can use the parameters before it.
            value = evaluate(param.default, defaults.bind(values))
            place = param.default.span
        else:
            raise Fault(
                "A0202",
                f"`{definition.name}` needs `{name}`",
                span,
                help=_signature(definition),
            )
        if types[name] is not None:
            value = _typed(definition, param, value, place)
        values[name] = value
    return values


def _typed(definition: t.Definition, param: t.Param, value: Any, place: Span) -> Any:
    type_ = param.type or _default_type(param)
    if type_ in WORDS_OF_TYPES and not has_type(value, type_):
        raise Fault(
            "A0204",
            f"`{definition.name}`: `{param.name}` must be {WORDS_OF_TYPES[type_]}, "
            f"not {show_value(value)}",
            place,
            help=_why_type(param),
        )
    return float(value) if type_ == "float" and _plain_int(value) else value


def _why_type(param: t.Param) -> str:
    if param.type:
        return f"it was declared as `{param.name}: {param.type}`"
    assert param.default is not None
    return f"its default is {param.default.span.text}"


def _default_type(param: t.Param) -> str | None:
    """Return the type that a literal default implies."""
    if isinstance(param.default, t.Literal):
        return type_name(param.default.value)
    if isinstance(param.default, t.DimsLiteral):
        return "kernel"
    return "list" if isinstance(param.default, t.ListExpr) else None


def _signature(definition: t.Definition) -> str | None:
    if not definition.params:
        return f"`{definition.name}` has no parameters"
    names = ", ".join(
        p.name if p.default is None else f"{p.name} = {p.default.span.text}"
        for p in definition.params
    )
    return f"it is `{definition.name}<{names}>`"


def as_names(
    definition: t.Definition, values: Mapping[str, Any], defaults: Context
) -> dict[str, Any]:
    """Return parameter values that carry the parameter as their expression."""
    names: dict[str, Any] = {}
    for param in definition.params:
        value = _as_name(param.name, values[param.name])
        if isinstance(value, BlockRef) and value.bound:
            value = _in_own_names(param, value, names, defaults)
        names[param.name] = value
    return names


def _in_own_names(
    param: t.Param, value: BlockRef, names: Mapping[str, Any], defaults: Context
) -> BlockRef:
    """Return a block with its given arguments in the names of the block it is passed
    to.
    """
    result = plain_argument(value)
    assert isinstance(result, BlockRef)
    if isinstance(param.default, t.Partial):
        try:
            default = evaluate(param.default, defaults.bind(names))
        except Fault:
            return result  # it was not asked for
        # By their text, as 1, 1.0 and true are equal.
        same = default == value and str(plain_argument(default).bound) == str(
            result.bound
        )
        return default if same else result
    return result


def _as_name(name: str, value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return named(value, name)
    if isinstance(value, float):
        return SymFloat(value, name)
    if isinstance(value, Dims) and len(set(value)) == 1:
        return Dims(named(part, name) for part in value)
    # Expressions in a list are in names of the caller.
    return plain_argument(value) if isinstance(value, tuple) else value
