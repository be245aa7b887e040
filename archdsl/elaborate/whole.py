"""The elaboration of a whole network: names, statements, and unused values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

from archdsl.diagnostics import Diagnostic, Diagnostics
from archdsl.elaborate import static
from archdsl.elaborate.bind import as_names, bind_block
from archdsl.elaborate.chosen import preset_arguments
from archdsl.elaborate.contexts import Context
from archdsl.elaborate.faults import Fault
from archdsl.elaborate.library import prelude
from archdsl.elaborate.namespaces import Namespace
from archdsl.elaborate.state import State
from archdsl.elaborate.tensors import Extra, Value
from archdsl.elaborate.walk import Walker
from archdsl.syntax import tree as t
from archdsl.syntax.loader import LoadedFile

# Files whose names have been checked; the result does not change.
_RIGHT: WeakSet[LoadedFile] = WeakSet()


def check_names(module: LoadedFile, errors: Diagnostics) -> None:
    """Check the names of a spec, unless that was done just before."""
    if module not in _RIGHT:
        static.check(module, prelude(), errors)
        if not errors.found:
            _RIGHT.add(module)


def walk(
    walker: Walker,
    module: LoadedFile,
    definition: t.Definition,
    preset: t.Preset | None,
    params: Mapping[str, Any],
) -> tuple[Mapping[str, Any], Context, Value]:
    """Walk over a network's statements.

    Returns:
        The values of its parameters, its context, and its main output.
    """
    state = walker.state
    outside = Context(module, {}, Namespace("", False, None), budget=state.budget)
    values = bind_block(
        definition,
        preset_arguments(definition, list(preset.angle) if preset else [], params),
        preset.span if preset else definition.span,
        outside,
        outside,
    )
    env = as_names(definition, values, outside) if state.symbolic else values
    space = Namespace("", definition.indexed, None)
    context = outside.replace(env=env, space=space)
    state.definition, state.parameters = definition, values

    def build(value: Value, inner: Context) -> Value:
        return walker.body(definition.body, value, inner)

    end = walker.place.whole(build, Value(0, ()), context)
    end.read()
    if not state.inputs and not state.faults:
        state.report(
            Fault(
                "A0306",
                f"network `{definition.name}` has no input",
                definition.span,
                help="begin it with `input 3x224x224`",
            ),
            context,
        )
    return values, context, end


def check_read(state: State) -> None:
    """Report inputs and results that are never read."""
    for port in state.inputs:
        if port.value not in state.read:
            state.errors.add(
                Diagnostic(
                    "A0305",
                    f"the input `{port.name}` is never used",
                    state.input_spans[port.value],
                    label="nothing reads it",
                    help=f"read it by a tap: `@{port.name}`",
                )
            )
    for number, placed in state.producers.items():
        if number not in state.read:
            state.errors.add(
                Diagnostic(
                    "A0305",
                    f"the result of {placed.path} is never used",
                    placed.span,
                    label="nothing reads it",
                    help="a tap such as `@label` starts from another value; "
                    "drop the layer, or join both by `concat` or `add`",
                )
            )
    for tapped in state.tapped:
        # A loop can repeat one mistake ten thousand times.
        if tapped.is_read or state.errors.knows("A0305", tapped.span):
            continue
        if isinstance(tapped, Extra):
            state.errors.add(_unread(tapped))
        else:
            state.errors.add(
                Diagnostic(
                    "A0305",
                    f"the value of `{tapped.span.text}` is not used here",
                    tapped.span,
                    label="nothing reads it before the next tap",
                    notes=tuple(call.note() for call in tapped.trail),
                    help="a loop makes no branches; a `for` after a branch does: "
                    "`concat { @label{i} for i in range(3) }`",
                )
            )


def _unread(extra: Extra) -> Diagnostic:
    """Return the mistake that nothing reads another output of a block or braces."""
    return Diagnostic(
        "A0305",
        f"the output `{extra.name}` of {extra.owner} is never used",
        extra.span,
        label="nothing reads it",
        notes=tuple(call.note() for call in extra.trail),
        help=f"read it by a tap of this part's label: `@label.{extra.name}`",
    )
