"""Blocks with several inputs, and the values of each input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn

from archdsl.elaborate import blocks
from archdsl.elaborate.bind import bind_layer
from archdsl.elaborate.contexts import Context
from archdsl.elaborate.faults import Fault
from archdsl.elaborate.foreign import Foreign
from archdsl.elaborate.names import check_label, check_parameter
from archdsl.elaborate.place import Opened, Walks
from archdsl.elaborate.references import BlockRef, KindRef
from archdsl.elaborate.sink import Section
from archdsl.elaborate.structures import branch, branches_of
from archdsl.elaborate.tensors import Value
from archdsl.naming import channels_of_input
from archdsl.source import Span
from archdsl.syntax import tree as t


def check_inputs(definition: t.Definition) -> None:
    """Refuse inputs of a block that it cannot have.

    Raises:
        Fault: naming the input.
    """
    names = [name for name, _ in definition.inputs]
    params = {param.name for param in definition.params}
    if len(names) == 1:
        raise Fault(
            "A0103",
            f"the only input of `{definition.name}` needs no name",
            definition.inputs[0][1],
            help="drop `(...)`: it flows into the first layer, and `@input` reads it",
        )
    for place, (name, span) in enumerate(definition.inputs):
        check_label(name, span)
        check_parameter(name, span)
        check_parameter(channels_of_input(name), span)
        if name in names[:place] or name in params:
            raise Fault("A0101", f"`{name}` is declared twice", span)
        if channels_of_input(name) in params:
            refuse_channels(channels_of_input(name), span)
    if "body" in params:
        raise Fault(
            "A0101",
            f"the braces of `{definition.name}` would be its inputs and its `body`",
            definition.inputs[0][1],
            help="rename the parameter, and give it a block by name",
        )


def refuse_channels(name: str, span: Span) -> NoReturn:
    """Refuse a name that compiled code has for the channels of an input.

    Raises:
        Fault: naming it.
    """
    raise Fault(
        "A0103",
        f"`{name}` already means the number of channels of that input",
        span,
        help="choose another name",
    )


def _require_sound(ref: BlockRef | KindRef, span: Span) -> None:
    """Refuse a block that cannot have its inputs."""
    if isinstance(ref, BlockRef):
        try:
            check_inputs(ref.definition)
        except Fault:
            raise Fault("", "it is reported where it is defined", span) from None


def declaration(ref: object) -> t.Definition | t.OpDef | None:
    """Return the declaration of a block or op with several inputs; None of others."""
    found: t.Definition | t.OpDef | None = None
    if isinstance(ref, BlockRef):
        found = ref.definition
    elif isinstance(ref, KindRef) and issubclass(ref.kind, Foreign):
        found = ref.kind.definition
    return found if found is not None and found.inputs else None


def call_with_inputs(
    walker: Walks,
    call: t.Call,
    ref: BlockRef | KindRef,
    label: str | None,
    value: Value,
    context: Context,
) -> Value:
    """Elaborate ``fuse<64> { @high | @low }``: a branch for each input, and the block
    or op.

    The layers in the branches belong to the caller.
    """
    _require_sound(ref, call.span)
    # Before the branches, since `channels` refers to the input here.
    send = _sender(walker, call, ref, context)
    with _fed(walker, call, ref, value, context) as part:
        part.value = send(label, _ends(walker, call, ref, value, context))
    return part.value


def again(
    walker: Walks,
    call: t.Call,
    first: t.Call,
    ref: BlockRef | KindRef,
    name: str,
    value: Value,
    context: Context,
    where: Context,
) -> Value:
    """Elaborate ``same fuse1 { @high | @low }``: an earlier block for other values.

    Args:
        walker: elaborates the branches and the block.
        call: the call of `same`.
        first: the earlier call.
        ref: the block or op.
        name: its name.
        value: what flows in here.
        context: the context of this place, in which the branches are elaborated.
        where: the context of the earlier place, in which the block is elaborated again.
    """
    with _fed(walker, call, ref, value, context) as part:
        ends = _ends(walker, call, ref, value, context)
        for was, end in zip(where.space.given.get(name, ()), ends, strict=False):
            walker.place.check_alike(was, end, call.span)
        part.value = _sender(walker, first, ref, where)(name, ends)
    return part.value


Send = Callable[[str | None, tuple[Value, ...]], Value]


def _sender(
    walker: Walks, call: t.Call, ref: BlockRef | KindRef, context: Context
) -> Send:
    """Return what sends the block or layer of a call, by its label, for some values."""
    if isinstance(ref, KindRef):
        layer = bind_layer(call, ref, context)

        def send(label: str | None, ends: tuple[Value, ...]) -> Value:
            if label is not None:
                context.space.given.setdefault(label, ends)
            return walker.place.layer(layer, label, ends, context, call.span)

        return send
    values = blocks.values_of(call, ref, context, walker.state.errors)
    return lambda label, ends: blocks.block(
        walker, call, ref, label, ends, values, context
    )


def _fed(
    walker: Walks,
    call: t.Call,
    ref: BlockRef | KindRef,
    value: Value,
    context: Context,
) -> Opened:
    word = ref.definition.name if isinstance(ref, BlockRef) else ref.kind.word
    section = Section("structure", word, value, context, call.span)
    return walker.place.section(section)


def _ends(
    walker: Walks,
    call: t.Call,
    ref: BlockRef | KindRef,
    value: Value,
    context: Context,
) -> tuple[Value, ...]:
    """Elaborate the branches of a call, one for each input."""
    definition = declaration(ref)
    assert definition is not None
    statement = walker.state.statement
    names = [name for name, _ in definition.inputs]
    found = []
    if call.body is not None:
        found = list(branches_of(definition.name, call.body.branches, context))
    if len(found) != len(names):
        given = f"{len(found)} {'branch is' if len(found) == 1 else 'branches are'}"
        raise Fault(
            "A0210",
            f"`{definition.name}` has {len(names)} inputs, and "
            f"{given if found else 'no branches are'} given",
            call.span,
            label=f"`{definition.name}({', '.join(names)})` is on line "
            f"{definition.span.line}{_elsewhere(call, definition)}",
            help=f"write `{definition.name} {{ {' | '.join('...' for _ in names)} }}`, "
            "a branch for each; an empty branch is what flows in here",
        )
    ends = [branch(walker, b, value, context.bind(own)) for b, own in found]
    walker.state.statement = statement
    if isinstance(ref, BlockRef):
        _check_apart(call, names, ends)
    return tuple(ends)


def _elsewhere(call: t.Call, definition: t.Definition | t.OpDef) -> str:
    if definition.span.source is call.span.source:
        return ""
    return f" of {definition.span.source.name}"


def _check_apart(call: t.Call, names: Sequence[str], ends: Sequence[Value]) -> None:
    """Refuse one value as two inputs, which compiled code could not tell apart.

    Raises:
        Fault: naming both.
    """
    numbers = [end.number for end in ends]
    for place, number in enumerate(numbers):
        first = numbers.index(number)
        if first < place:
            raise Fault(
                "A0210",
                f"the inputs `{names[first]}` and `{names[place]}` of `{call.word}` "
                "are one value here",
                call.span,
                help=f"put `identity` at the end of the branch of `{names[place]}`",
            )
