"""Structures with branches: merges, and residuals with their shortcuts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from archdsl.conditions import Relation, Test, join_conditions
from archdsl.diagnostics import did_you_mean
from archdsl.elaborate.bind import bind_layer
from archdsl.elaborate.contexts import Context
from archdsl.elaborate.evaluate import bind_targets, evaluate, listed
from archdsl.elaborate.faults import Fault
from archdsl.elaborate.names import check_label
from archdsl.elaborate.paths import claim, part_name
from archdsl.elaborate.place import Build, Walks
from archdsl.elaborate.placed import Placed
from archdsl.elaborate.references import KindRef, plain_argument
from archdsl.elaborate.sink import Owner, Section
from archdsl.elaborate.tensors import MergeWords, Value
from archdsl.ir import Role
from archdsl.layer import Layer, kind
from archdsl.limits import MAX_BRANCHES, MAX_INTEGER
from archdsl.source import Span
from archdsl.symbolic import Poly, SymFloat, poly_of
from archdsl.syntax import tree as t
from archdsl.values import channels, is_map, ones

# Name of a shortcut's projection, as in the field's checkpoints.
PROJECTION = "downsample"
# The largest stride that a projection is tried with, if the body's is not known.
_MOST_STRIDE = 64
SHORTCUTS = ("auto", "identity", "projection", "optional")


_ADVICE = {
    "auto": "no strided 1x1 convolution gives the body's shape: change the body, or "
    "write the shortcut, as in `residual { ... | ... }`",
    "identity": "let the body keep the shape, or drop `shortcut = identity`",
    "projection": "no strided 1x1 convolution gives the body's shape: change the "
    "body, or write the shortcut, as in `residual { ... | ... }`",
    "written": "make the body and the shortcut agree in channels and size",
}


def merge(
    walker: Walks,
    call: t.Call,
    ref: KindRef,
    label: str | None,
    value: Value,
    context: Context,
) -> Value:
    """Elaborate ``concat { a | b }``: branches of a common input, and a merge."""
    layer = bind_layer(call, ref, context)
    word = ref.kind.word
    written = call.body.branches if call.body is not None else []
    branches = list(branches_of(word, written, context))
    exact = ref.kind.arity
    if len(branches) < 2 or len(branches) != (exact or len(branches)):
        raise Fault(
            "A0210",
            f"{word} joins {exact or 'two'} branches{'' if exact else ' or more'}",
            call.span,
            label="" if len(written) < 2 else f"{len(branches)} here",
            help=f"write `{word} {{ ... | ... }}`; an empty branch is the input itself",
        )
    statement = walker.state.statement

    def build(entry: Value, inner: Context) -> Value:
        ends = [branch(walker, b, entry, inner.bind(own)) for b, own in branches]
        walker.state.statement = statement
        names = MergeWords(entry, tuple(f"branch {n}" for n in range(1, len(ends) + 1)))
        return walker.place.layer(layer, None, tuple(ends), inner, call.span, names)

    return _structure(walker, word, call.span, label, value, context, build)


def branches_of(
    word: str, written: Sequence[t.Branch], context: Context
) -> Iterator[tuple[t.Branch, Mapping[str, Any]]]:
    """Yield the branches of a merge, each with the names that a `for` behind it binds.

    Raises:
        Fault: if there are too many, or nothing to go through.
    """
    count = 0
    for branch in written:
        rounds: Iterable[Mapping[str, Any]] = ({},)
        if branch.each is not None:
            context.budget.spend(branch.each.span)
            rounds = _rounds(branch.each, context)
        for names in rounds:
            count += 1
            if count > MAX_BRANCHES:
                message = f"{word} has more than {MAX_BRANCHES:,} branches"
                raise Fault("A0906", message, branch.span)
            yield branch, names


def _rounds(each: t.Each, context: Context) -> Iterator[Mapping[str, Any]]:
    items = listed(each.iterable, context)
    for place, item in enumerate(items):
        yield bind_targets(each.targets, place, item, each.span)


def refuse_each(branches: Sequence[t.Branch]) -> None:
    """Refuse a `for` after something that is not a branch of a merge.

    Raises:
        Fault: naming it.
    """
    for branch in branches:
        if branch.each is not None:
            raise Fault(
                "A0210",
                "`for` behind layers makes branches, and no merge is around them",
                branch.each.span,
                help="join them: `concat { @unit{i} for i in range(3) }`; for layers "
                "one after another, write `for i in range(3) { ... }`",
            )


def residual(
    walker: Walks,
    call: t.Call,
    label: str | None,
    value: Value,
    context: Context,
) -> Value:
    """Elaborate ``residual { body | shortcut }``: their sum.

    Without an explicit shortcut, the input is added unchanged, or projected by a 1x1
    convolution if the body changes its shape. An optional shortcut is omitted in that
    case instead.

    Source: He et al. 2015, section 3.2, equations 1 and 2, and option B.
    """
    options = _options(call, context)
    mode = options.mode
    assert call.body is not None
    branches = call.body.branches
    if len(branches) > 2:
        raise Fault(
            "A0210",
            "residual takes a body and at most one shortcut",
            branches[-1].span,
            help="join more branches by `add { a | b | c }`",
        )
    refuse_each(branches)
    _check_options(call, mode, branches)
    statement = walker.state.statement

    def build(entry: Value, inner: Context) -> Value:
        body = branch(walker, branches[0], entry, inner)
        if mode == "optional":
            walker.state.statement = statement
            return _optional(walker, call, options.drop, (entry, body), inner)
        if len(branches) == 2:
            short = branch(walker, branches[1], entry, inner, "shortcut")
        else:
            short = _automatic(walker, call, options, (entry, body), inner)
        walker.state.statement = statement
        advice = _ADVICE["written" if len(branches) == 2 else mode]
        names = MergeWords(entry, ("body", "shortcut"), "residual", advice)
        ends = body, short
        return walker.place.layer(_kind("add")(), None, ends, inner, call.span, names)

    return _structure(walker, "residual", call.span, label, value, context, build)


class _Options(NamedTuple):
    """The options of a residual about its shortcut.

    Attributes:
        mode: one of `SHORTCUTS`.
        name: name of the projection.
        before: whether the projection is created before the body, and so comes before
            it in a `state_dict`.
        drop: probability with which training omits the body, for an optional shortcut.
    """

    mode: str = "auto"
    name: str = ""
    before: bool = False
    drop: float = 0.0


def _options(call: t.Call, context: Context) -> _Options:
    found = _Options()
    given: set[str] = set()
    for argument in [*(call.angle or []), *call.args]:
        option = _option(argument, context)
        if not given.isdisjoint(option):
            raise Fault(
                "A0206",
                f"residual: `{argument.name}` is given twice",
                argument.span,
                help="give it once",
            )
        given |= set(option)
        found = found._replace(**option)
    return found


def _check_options(call: t.Call, mode: str, branches: list[t.Branch]) -> None:
    """Refuse options about a shortcut that the residual does not have.

    Raises:
        Fault: naming the argument, and what it conflicts with.
    """
    written = len(branches) == 2
    projects = mode in ("auto", "projection") and not written
    for argument in [*(call.angle or []), *call.args]:
        name, value = argument.name, argument.value.span.text
        said = f"{name} = {value}"
        if name == "shortcut" and mode != "auto" and written:
            raise Fault(
                "A0210",
                f"residual: `{said}` conflicts with the shortcut that is written out",
                branches[1].span,
                label="this is the shortcut",
                help=f"drop `{said}`, or the branch after `|`",
            )
        if name in ("projection", "before") and not projects:
            why = "with a written shortcut" if written else f"with `shortcut = {mode}`"
            raise Fault(
                "A0201",
                f"residual: `{said}` needs a projection, and {why} there is none",
                argument.span,
                help=f"drop `{said}`",
            )
        if name == "drop" and mode != "optional":
            raise Fault(
                "A0201",
                f"residual: `{said}` needs `shortcut = optional`",
                argument.span,
                label="nothing is left out here",
                help="put `stochasticdepth` at the end of the body",
            )


def _option(argument: t.Arg, context: Context) -> dict[str, Any]:
    value = argument.value
    if argument.name == "shortcut":
        if isinstance(value, t.Name) and value.id in SHORTCUTS:
            return {"mode": value.id}
        raise Fault(
            "A0204",
            f"`shortcut` must be one of {', '.join(SHORTCUTS)}",
            argument.span,
            help=did_you_mean(value.span.text, SHORTCUTS),
        )
    if argument.name == "projection":
        if isinstance(value, t.Name):
            check_label(value.id, argument.span)
            return {"name": value.id}
        raise Fault("A0204", "`projection` is the projection's name", argument.span)
    if argument.name == "before":
        if isinstance(value, t.Literal) and isinstance(value.value, bool):
            return {"before": value.value}
        raise Fault("A0204", "`before` is true or false", argument.span)
    if argument.name == "drop":
        drop = evaluate(value, context)
        if isinstance(drop, int | float) and 0 <= drop <= 1:
            return {"drop": drop}
        raise Fault("A0204", "`drop` is a probability, from 0 to 1", argument.span)
    raise Fault(
        "A0201",
        "with a body in braces, residual takes shortcut, projection, before and drop",
        argument.span,
        help="write `residual<shortcut = identity> { ... }`",
    )


def _structure(
    walker: Walks,
    word: str,
    span: Span,
    label: str | None,
    value: Value,
    context: Context,
    build: Build,
) -> Value:
    """Build a structure in the enclosing namespace, or in one of its own."""
    if label is not None or context.space.indexed:
        name = part_name(label, word, context.space, span)
        return walker.place.owner(Owner(name, word, (value,), context, span), build)
    statement = walker.state.statement
    with walker.place.section(Section("structure", word, value, context, span)) as part:
        part.value = build(value, context)
        walker.state.statement = statement
    return part.value


def branch(
    walker: Walks,
    written: t.Branch,
    value: Value,
    context: Context,
    role: Role = "branch",
) -> Value:
    """Elaborate one branch."""
    within = context.replace(within="a branch")
    section = Section(role, "", value, context, written.span)
    with walker.place.section(section) as part:
        part.value = walker.branch(written, value, within)
    return part.value


def _automatic(
    walker: Walks,
    call: t.Call,
    options: _Options,
    ends: tuple[Value, Value],
    context: Context,
) -> Value:
    """Build a shortcut that the spec does not write out, and return its value."""
    entry, body = ends
    if entry.shape is None or body.shape is None:
        return entry
    mode = options.mode
    name = options.name or _projection_name(context)
    strides = _strides(entry, body)
    can_project = mode != "identity" and _can_project(strides, entry, body)
    projects = mode == "projection" or entry.shape != body.shape
    condition = None
    if can_project and walker.state.symbolic and mode != "projection":
        condition = _condition("!=", projects, strides, entry, body)
    shortcut = Section(
        "shortcut",
        "",
        entry,
        context,
        call.span,
        condition=condition,
        name=name if can_project else "",
        first=options.before,
    )
    with walker.place.section(shortcut) as part:
        if can_project and projects:
            part.value = _project(walker, call, name, ends, strides, context)
    return part.value


def _can_project(strides: tuple[int, ...], entry: Value, body: Value) -> bool:
    """Return whether a convolution can bring the input to the body's shape."""
    assert entry.shape is not None and body.shape is not None
    return bool(strides) if is_map(entry.shape) else entry.shape == body.shape


def _kind(word: str) -> type[Layer]:
    found = kind(word)
    assert found is not None, word
    return found


def _condition(
    compare: str, holds: bool, strides: tuple[int, ...], entry: Value, body: Value
) -> Test | None:
    """Return the condition under which a body keeps its input's shape, or changes it.

    None if no parameter decides, or if the condition does not determine the result: a
    map of 1x1 keeps its size under any stride.

    Args:
        compare: `!=` for a condition that holds if the shape changes, else `==`.
        holds: whether it holds here.
        strides: strides of the body; if they differ, no parameter has them.
        entry: input of the body.
        body: output of the body.
    """
    stride = max(strides, default=1)
    assert entry.shape is not None and body.shape is not None
    before, after = channels(entry.shape), channels(body.shape)
    if poly_of(stride).number not in (None, 1):
        return None
    tests: list[Test] = []
    if poly_of(stride).number is None:
        tests.append(Relation(poly_of(stride), compare, Poly.constant(1)))
    if poly_of(before) != poly_of(after):
        if poly_of(before).number is not None and poly_of(after).number is not None:
            return None
        tests.append(Relation(poly_of(before), compare, poly_of(after)))
    kept = stride == 1 and before == after
    if kept != (holds == (compare == "==")):
        return None
    return join_conditions("or" if compare == "!=" else "and", tests)


def _optional(
    walker: Walks,
    call: t.Call,
    drop: float,
    ends: tuple[Value, Value],
    context: Context,
) -> Value:
    """Add the input if the body keeps its shape, and omit it otherwise."""
    entry, body = ends
    if entry.shape is None or body.shape is None:
        return body
    keeps = entry.shape == body.shape
    condition = None
    if walker.state.symbolic:
        condition = _condition("==", keeps, _strides(entry, body), entry, body)
    optional = Section(
        "structure", "optional", body, context, call.span, condition=condition
    )
    drops = drop > 0
    if keeps and isinstance(drop, SymFloat) and context.lets is not None:
        test = Relation(Poly.name(drop.name), ">", Poly.constant(0))
        context.space.record(test, drops)
    layers = [_kind("stochasticdepth")(p=drop)] if drops else []
    with walker.place.section(optional) as part:
        for layer in layers if keeps else ():
            end = walker.place.layer(layer, None, (part.value,), context, call.span)
            part.value = end
        if keeps:
            ends = part.value, entry
            add = _kind("add")()
            part.value = walker.place.layer(add, None, ends, context, call.span)
    return part.value


def _projection_name(context: Context) -> str:
    """Return the name of the next residual's projection, whether it has one or not."""
    space = context.space
    name = space.number(PROJECTION)
    if name != f"{PROJECTION}1":
        return name
    return space.number(PROJECTION) if space.has(PROJECTION) else PROJECTION


def _project(
    walker: Walks,
    call: t.Call,
    name: str,
    ends: tuple[Value, Value],
    strides: tuple[int, ...],
    context: Context,
) -> Value:
    entry, body = ends
    assert body.shape is not None
    conv = _kind("conv")
    norm = _norm_of_body(walker.state.producers, body, entry)
    width = channels(body.shape)
    once = ones(len(strides))
    layers = [conv(kernel=once, width=width, stride=strides, bias=norm is None)]
    if norm is not None:
        layers.append(norm)

    def build(value: Value, inner: Context) -> Value:
        for layer in layers:
            value = walker.place.layer(layer, None, (value,), inner, call.span)
        return value

    claim(name, call.span, context.space)
    owner = Owner(name, "seq", (entry,), context, call.span, indexed=True)
    value = walker.place.owner(owner, build)
    if value.shape is not None:
        # The projection has the body's channels, in the body's own words.
        value.shape = (width, *value.shape[1:])
    return value


def _norm_of_body(
    producers: Mapping[int, Placed], body: Value, entry: Value
) -> Layer | None:
    """Return the last norm of the body, which the projection gets, too."""
    for step in main_path(producers, entry, body):
        if step.op.family == "norm":
            # Parameters of an inner block are not known here.
            return step.op.replace(
                **{n: plain_argument(v) for n, v in vars(step.op).items()}
            )
    return None


def main_path(
    producers: Mapping[int, Placed], entry: Value, end: Value
) -> list[Placed]:
    """Return the layers from a value back to an earlier one, along first inputs."""
    found = []
    number = end.number
    while number != entry.number and number in producers:
        step = producers[number]
        found.append(step)
        number = step.inputs[0]
    return found


def _strides(entry: Value, body: Value) -> tuple[int, ...]:
    """Return the strides of a 1x1 convolution that gives the body's size; none if there
    are no such.

    They are the product of the strides in the body if that works, else the smallest
    that do, if possible the same along each axis.
    """
    assert entry.shape is not None and body.shape is not None
    axes = len(entry.shape) - 1
    if len(body.shape) != axes + 1:
        return ()
    start, stride = body.back_to(entry.number)
    sizes = list(zip(entry.shape[1:], body.shape[1:], strict=True))
    known = start.number == entry.number and stride <= MAX_INTEGER
    if known and all((n - 1) // stride + 1 == m for n, m in sizes):
        return (stride,) * axes
    tried = range(1, _MOST_STRIDE + 1)
    for guess in tried:
        if all((n - 1) // guess + 1 == m for n, m in sizes):
            return (guess,) * axes
    found = [next((g for g in tried if (n - 1) // g + 1 == m), 0) for n, m in sizes]
    return tuple(found) if all(found) else ()
