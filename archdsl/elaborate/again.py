"""Earlier parts that are used again, with the same weights: `same`."""

from __future__ import annotations

from archdsl.diagnostics import did_you_mean
from archdsl.elaborate import inputs
from archdsl.elaborate.contexts import Again, Context
from archdsl.elaborate.faults import Fault
from archdsl.elaborate.paths import label_text
from archdsl.elaborate.place import Walks
from archdsl.elaborate.references import BlockRef, KindRef
from archdsl.elaborate.resolve import STRUCTURES, resolve
from archdsl.elaborate.tensors import Value
from archdsl.syntax import tree as t


def same(
    walker: Walks, call: t.Call, label: str | None, value: Value, context: Context
) -> Value:
    """Elaborate ``same encoder``: an earlier part again, with the same weights."""
    name = _one_name(call)
    if name is None:
        raise Fault(
            "A0202",
            "same needs the label of an earlier layer",
            call.span,
            help="write `@right -> same encoder`",
        )
    space = context.space
    written = walker.written(space)
    earlier, first = written.get(name), space.values.get(name)
    if earlier is None or first is None:
        raise Fault(
            "A0107",
            f"no earlier layer is labelled `{name}` in this body",
            call.args[0].span,
            help=did_you_mean(name, written)
            or "`same` needs a label that comes before it, in the same body",
        )
    step = earlier.step
    alias = label or name
    where = earlier.context.replace(
        training=context.training,
        again=Again(call.span, space, name, context.alias_of(alias) or alias),
    )
    ref = _several(step, earlier.context)
    if call.body is not None and ref is None:
        raise Fault(
            "A0208",
            f"`{name}` has a single input, so `same` takes no braces",
            call.span,
            help=f"write the input before it: `@right -> same {name}`",
        )
    if isinstance(step, t.Call) and ref is not None:
        assert step.label is not None
        own = label_text(step.label, where, earlier.copy)
        return inputs.again(walker, call, step, ref, own, value, context, where)
    walker.place.check_alike(earlier.value, value, call.span)
    again = walker.step(step, value, where, earlier.copy)
    space.enter(name, first)
    return again


def _one_name(call: t.Call) -> str | None:
    """Return the label that is the only argument of a call, if it is one.

    One with dots or hyphens is in quotes.
    """
    if len(call.args) != 1 or call.angle or call.args[0].name is not None:
        return None
    match call.args[0].value:
        case t.Name(id=label) | t.Literal(value=str(label)):
            return label
        case _:
            return None


def _several(step: t.ChainStep, context: Context) -> BlockRef | KindRef | None:
    """Return the block or op that a step calls, if it has several inputs."""
    if not isinstance(step, t.Call) or step.word in STRUCTURES:
        return None
    found = resolve(step, context)
    if isinstance(found, BlockRef | KindRef) and inputs.declaration(found):
        return found
    return None
