"""Calls: the layers that a word stands for."""

from __future__ import annotations

from archdsl.elaborate import again, blocks, inputs, structures
from archdsl.elaborate.bind import bind_again, bind_layer
from archdsl.elaborate.contexts import Context
from archdsl.elaborate.faults import Fault
from archdsl.elaborate.memo import Memo
from archdsl.elaborate.paths import part_name
from archdsl.elaborate.place import Walks
from archdsl.elaborate.references import BodyRef, KindRef, plain_argument
from archdsl.elaborate.resolve import resolve
from archdsl.elaborate.sink import Owner
from archdsl.elaborate.tensors import Value
from archdsl.layer import Layer
from archdsl.syntax import tree as t


def call(
    walker: Walks, call: t.Call, label: str | None, value: Value, context: Context
) -> Value:
    """Elaborate a call of a layer kind, structure or block."""
    word, memo = call.word, walker.place.memo
    if word not in context.env:
        # Then it means the same wherever the call is made.
        layer = None if memo is None else _known(call, None, context, memo)
        if layer is not None:
            return walker.place.layer(layer, label, (value,), context, call.span)
        if word == "same":
            return again.same(walker, call, label, value, context)
        if word == "seq":
            return _seq(walker, call, label, value, context)
        if word == "residual" and call.body is not None:
            inner = walker.state.deeper(context, call.span)
            return structures.residual(walker, call, label, value, inner)
    target = resolve(call, context)
    if isinstance(target, BodyRef):
        return _passed_body(walker, call, target, label, value, context)
    if inputs.declaration(target):
        inner = walker.state.deeper(context, call.span)
        return inputs.call_with_inputs(walker, call, target, label, value, inner)
    if isinstance(target, KindRef):
        if target.kind.arity != 1:
            inner = walker.state.deeper(context, call.span)
            return structures.merge(walker, call, target, label, value, inner)
        layer = _bound(call, target, context, memo)
        return walker.place.layer(layer, label, (value,), context, call.span)
    values = blocks.values_of(call, target, context, walker.state.errors)
    return blocks.block(walker, call, target, label, (value,), values, context)


def _seq(
    walker: Walks, call: t.Call, label: str | None, value: Value, context: Context
) -> Value:
    if call.body is None or call.angle or call.args:
        raise Fault(
            "A0208",
            "seq takes only layers in braces",
            call.span,
            help="write `features: seq { ... }`",
        )
    body, span = call.body, call.span
    name = part_name(label, "seq", context.space, span)
    inner = walker.state.deeper(context, span)
    owner = Owner(name, "seq", (value,), inner, span, indexed=True)
    return walker.place.owner(owner, lambda v, c: walker.body(body, v, c))


def _passed_body(
    walker: Walks,
    call: t.Call,
    ref: BodyRef,
    label: str | None,
    value: Value,
    context: Context,
) -> Value:
    if call.angle or call.args or call.body:
        raise Fault(
            "A0208",
            f"`{call.word}` was given as layers in braces, which take no arguments",
            call.span,
            help=f"give arguments in the default: `{call.word} = unit<width = 64>`",
        )
    inner = walker.state.deeper(context, call.span)
    if label is None and not context.space.indexed:
        return walker.body(ref.body, value, _read_in(ref, inner))
    name = part_name(label, call.word, context.space, call.span)
    owner = Owner(name, "", (value,), inner, call.span)
    return walker.place.owner(
        owner, lambda v, c: walker.body(ref.body, v, _read_in(ref, c))
    )


def _read_in(ref: BodyRef, context: Context) -> Context:
    """Return the context of braces that were passed to a block.

    They use the names of the place where they are written. Those are not defined in the
    block's own code, so their values are plain numbers there. Calls in the braces are
    also made from that place: the braces may call the block itself.
    """
    return context.replace(
        module=ref.context.module,
        trail=ref.context.trail,
        env={name: plain_argument(value) for name, value in ref.context.env.items()},
        lets=None,
    )


def _bound(call: t.Call, ref: KindRef, context: Context, memo: Memo | None) -> Layer:
    """Return the layer that a call describes, from the memo if seen before."""
    if memo is None or ref.bound:
        return bind_layer(call, ref, context)
    known = _known(call, ref.kind, context, memo)
    return known or memo.keep_call(call, bind_layer(call, ref, context))


def _known(
    call: t.Call, wanted: type[Layer] | None, context: Context, memo: Memo
) -> Layer | None:
    """Return the layer that a call describes; None if it was not seen before.

    Args:
        call: the call.
        wanted: the kind that its word stands for here; None if it always does.
        context: its context.
        memo: what was seen before.
    """
    known = memo.of_call(call, wanted, context)
    if known is None:
        return None
    context.budget.spend(call.span, known.steps)
    if not known.varying:
        return known.layer
    return memo.one(bind_again(known.layer, known.varying, context))
