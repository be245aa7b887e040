"""The order in which parts are registered: `register` statements."""

from __future__ import annotations

from collections.abc import Sequence

from archdsl.diagnostics import did_you_mean
from archdsl.elaborate.contexts import Context
from archdsl.elaborate.faults import Fault
from archdsl.elaborate.names import check_label
from archdsl.elaborate.namespaces import Namespace
from archdsl.elaborate.paths import label_text
from archdsl.elaborate.state import Registered, State
from archdsl.ir import Group, Step
from archdsl.ir.nodes import named_parts, registering, with_tensors
from archdsl.naming import containers_of
from archdsl.syntax import tree as t


def register(statement: t.Register, context: Context, state: State) -> None:
    """Note the names of parts that are registered first.

    In a loop, each round adds its own.

    Raises:
        Fault: if the body has another such statement, or a name twice, or its parts are
            numbered.
    """
    space = context.space
    if space.indexed:
        raise Fault(
            "A0109",
            "the parts of a seq are registered in the order of their numbers",
            statement.span,
            help="drop `register`, or drop `seq` before the braces",
        )
    if space.register not in (None, statement):
        assert space.register is not None
        raise Fault(
            "A0111",
            "a body has one `register`",
            statement.span,
            label=f"the other is on line {space.register.span.line}",
            help="list all names in one of them",
        )
    space.register = statement
    known = state.registers.setdefault(statement, Registered(context))
    for label in statement.names:
        name = label_text(label, context)
        check_label(name, label.span, label.quoted)
        if name in space.registered:
            again = space.registered[name] == label.span
            raise Fault(
                "A0111",
                f"`{name}` is registered twice",
                label.span,
                label="in every iteration of the loop" if again else "",
                help="move it out of the loop, or write the loop variable into it: "
                f"`{name}{{i}}`"
                if again
                else "name it once",
            )
        space.registered[name] = label.span
        known.names.setdefault(name, label.span)


def listed(
    state: State, space: Namespace, children: Sequence[Step | Group]
) -> tuple[str, ...]:
    """Return the names that the finished parts of a body are registered by; none if the
    order is that of execution.
    """
    if space.register is None:
        return ()
    known = state.registers[space.register]
    known.found.update(with_tensors(space.registered, children))
    for part in named_parts(children):
        known.others |= {part.name, *containers_of(part.name)}
    names = registering(space.registered, children)
    known.changes |= bool(names)
    return names


def check_registered(state: State) -> None:
    """Report names that nothing has, and statements that change nothing."""
    for statement, known in state.registers.items():
        missing = [name for name in known.names if name not in known.found]
        for name in missing:
            # In a loop, one label has many names.
            if state.errors.knows("A0111", known.names[name]):
                continue
            bare = name in known.others
            fault = Fault(
                "A0111",
                f"`{name}` has no weights or buffers, and so no place in the state_dict"
                if bare
                else f"no part of this body is named `{name}`",
                known.names[name],
                help="drop it here"
                if bare
                else did_you_mean(name, known.others)
                or "name the parts that stand directly in the body",
            )
            state.report(fault, known.context)
        if not missing and not known.changes:
            fault = Fault(
                "A0111",
                "these parts are registered in this order anyway",
                statement.span,
                label="this changes nothing",
                help="drop it: parts are registered in the order in which they run",
            )
            state.report(fault, known.context)
