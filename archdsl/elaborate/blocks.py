"""Calls of blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from archdsl.diagnostics import Diagnostics
from archdsl.elaborate.bind import as_names, bind_block
from archdsl.elaborate.contexts import Context
from archdsl.elaborate.faults import BlockCall, Fault
from archdsl.elaborate.namespaces import Namespace
from archdsl.elaborate.paths import part_name
from archdsl.elaborate.place import Walks
from archdsl.elaborate.references import BlockRef
from archdsl.elaborate.resolve import other_name
from archdsl.elaborate.sink import Owner
from archdsl.elaborate.tensors import Value
from archdsl.layer import words
from archdsl.syntax import tree as t

# Where defaults stand, which can read no labels.
_NOWHERE: Final = Namespace("", False, None)


def values_of(
    call: t.Call, ref: BlockRef, context: Context, errors: Diagnostics
) -> dict[str, Any]:
    """Return the values of a block's parameters in a call.

    Args:
        call: the call.
        ref: the block.
        context: the context of the call.
        errors: what is known to be wrong.

    Raises:
        Fault: if an argument is wrong, or there can be no such call.
    """
    definition = ref.definition
    if definition.is_network:
        raise Fault(
            "A0204",
            f"`{definition.name}` is a network, not a block",
            call.span,
            help="make it a `block`, and leave `input` to the network",
        )
    if call.args:
        raise Fault(
            "A0201",
            f"`{call.word}` is a block, and takes its arguments in < >",
            call.args[0].span,
            help=_in_angles(call.word),
        )
    if any(outer.definition is definition for outer in context.trail):
        known = definition.name in words() or any(
            found.code == "A0108" for found in errors.found
        )
        raise Fault(
            "" if known else "A0108",
            f"`{definition.name}` calls itself",
            call.span,
            help="the language has no recursion; repeat with `x` or `for`",
        )
    return bind_block(
        definition,
        call.angle or [],
        call.span,
        context,
        _defaults(ref, context),
        None if definition.inputs else call.body,
        ref.bound,
    )


def block(
    walker: Walks,
    call: t.Call,
    ref: BlockRef,
    label: str | None,
    ends: tuple[Value, ...],
    values: Mapping[str, Any],
    context: Context,
) -> Value:
    """Elaborate a block.

    Args:
        walker: elaborates its body.
        call: the call.
        ref: the block.
        label: its name, if the spec gives one.
        ends: what flows into it.
        values: the values of its parameters.
        context: the context of the call.
    """
    definition, space = ref.definition, context.space
    if label is not None and definition.inputs:
        space.given.setdefault(label, ends)
    name = part_name(label, definition.name, space, call.span)
    env = values
    if walker.state.symbolic:
        env = as_names(definition, values, _defaults(ref, context))
    made = BlockCall(space.join(name), call.span, definition)
    inner = walker.state.deeper(
        context,
        call.span,
        module=ref.module,
        env=env,
        trail=(made, *context.trail),
        level=0,
        lets={} if walker.state.symbolic else None,
    )

    def build(value: Value, context: Context) -> Value:
        if definition.inputs:
            return _read_all(walker, call, definition, value, context)
        return walker.body(definition.body, value, context)

    owner = Owner(
        name,
        definition.name,
        ends,
        inner,
        call.span,
        definition.indexed,
        definition,
        values,
    )
    return walker.place.owner(owner, build)


def _read_all(
    walker: Walks,
    call: t.Call,
    definition: t.Definition,
    value: Value,
    context: Context,
) -> Value:
    """Elaborate the body of a block, which reads all that it names as its inputs.

    Errors in it are reported first.
    """
    state = walker.state
    names = [name for name, _ in definition.inputs]
    entries = {name: context.space.values[name].number for name in names}
    outside = state.read.intersection(entries.values())
    state.read -= outside
    faults = state.faults
    result = walker.body(definition.body, value, context)
    unread = [
        name
        for name, number in entries.items()
        if number not in state.read and number != result.number
    ]
    state.read |= outside
    if not unread or state.faults > faults:
        return result
    told = state.errors.knows("A0105", dict(definition.inputs)[unread[0]])
    fault = Fault(
        "" if told else "A0105",
        f"the input `{unread[0]}` of `{definition.name}` is not used here",
        call.span,
        label=f"`{definition.name}({', '.join(names)})` is on line "
        f"{definition.span.line}",
        help=f"read it by `@{unread[0]}`, or drop it there and here",
    )
    return state.report(fault, context)


def _defaults(ref: BlockRef, context: Context) -> Context:
    """Return the context of the defaults of a block's parameters."""
    return Context(ref.module, {}, _NOWHERE, budget=context.budget)


def _in_angles(word: str) -> str:
    """Return a hint how to pass arguments, or which kind is meant (`dense 10`)."""
    meant = other_name(word)
    return f"write `{word}<...>`" + (f", or `{meant}` for the layer" if meant else "")
