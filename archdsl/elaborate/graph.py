"""The sink that builds a network: its steps, in groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from archdsl.elaborate.faults import Fault
from archdsl.elaborate.namespaces import Namespace
from archdsl.elaborate.paths import NameTemplate, claim_old
from archdsl.elaborate.placed import Placed
from archdsl.elaborate.registration import listed
from archdsl.elaborate.sink import Inside, Owner, Section
from archdsl.elaborate.state import State
from archdsl.elaborate.tensors import Value
from archdsl.ir import OWNERS, Group, Parameter, Port, Step
from archdsl.ir.nodes import changed
from archdsl.ir.trusted import (
    new_group,
    new_old_name,
    new_parameter,
    new_port,
    new_step,
)
from archdsl.naming import channels_of_input
from archdsl.syntax import tree as t
from archdsl.values import Dims, channels

StepOrGroup = Step | Group


class GraphSink:
    """Collects the steps of a network, and the groups that contain them.

    Attributes:
        parts: the finished parts of the network, or of the group that is open.
        steps: all steps so far, by the numbers of their outputs.
    """

    def __init__(self, state: State) -> None:
        self.parts: list[StepOrGroup] = []
        self.steps: dict[int, Step] = {}
        # Those of the groups around it.
        self._outer: list[list[StepOrGroup]] = []
        self._state = state

    def layer(self, placed: Placed) -> None:
        """Add a step."""
        step = new_step(
            name=str(placed.name),
            path=placed.path,
            pattern=getattr(placed.name, "pattern", ()),
            labelled=placed.labelled,
            op=placed.made.op,
            inputs=placed.inputs,
            input_shapes=placed.made.input_shapes,
            output=placed.output,
            shape=placed.made.shape,
            training=placed.training,
            statement=placed.statement,
            shared=placed.shared,
            alias=placed.alias,
            span=placed.span,
        )
        self.parts.append(step)
        self.steps[step.output] = step

    def open_owner(self, owner: Owner) -> None:
        """Begin the parts of a group or block."""
        self.open_section()

    def close_owner(self, owner: Owner, inside: Inside) -> None:
        """Add a group or block, if its shapes are known."""
        space, result, value = inside
        children = self._end()
        definition, context, entry = owner.definition, owner.context, owner.ends[0]
        if value.shape is None or entry.shape is None:
            return
        self.parts.append(
            new_group(
                role="block" if definition else "group",
                name=str(owner.name),
                path=space.path,
                pattern=getattr(owner.name, "pattern", ()),
                word=owner.word,
                origin=_origin(definition),
                doc=definition.doc if definition else "",
                indexed=owner.indexed,
                parameters=_parameters(owner),
                lets=tuple(space.lets.items()),
                tests=space.answers(),
                children=children,
                registered=listed(self._state, space, children),
                input=entry.number,
                input_shape=entry.shape,
                ports=_ports(owner),
                output=result.number,
                shape=value.shape,
                extras=_extras(value),
                training=context.training,
                statement=self._state.statement,
                shared=context.shared,
                alias=context.alias_of(owner.name) if context.again else "",
                span=owner.span,
            )
        )

    def open_section(self) -> None:
        """Begin the parts of a group without names of its own."""
        self._outer.append(self.parts)
        self.parts = []

    def close_section(self, section: Section, result: Value) -> None:
        """Add a group whose parts are named in the enclosing namespace."""
        children = self._end()
        group = new_group(
            role=section.role,
            name=section.name,
            path=section.context.space.path,
            word=section.word,
            children=children,
            input=section.entry.number,
            input_shape=section.entry.shape or (),
            output=result.number,
            shape=result.shape or (),
            count=section.copies,
            condition=section.condition,
            training=section.context.training,
            statement=self._state.statement,
            span=section.span,
        )
        self.parts.insert(0 if section.first else len(self.parts), group)

    def drop(self) -> None:
        """Forget the parts of the group that was begun last."""
        self._end()

    def _end(self) -> tuple[StepOrGroup, ...]:
        parts, self.parts = self.parts, self._outer.pop()
        return tuple(parts)

    def decide(self, layers: Sequence[Placed]) -> None:
        """Replace the layers whose bias is known now."""
        steps = {p.output: changed(self.steps[p.output], op=p.op) for p in layers}
        self.steps.update(steps)
        self.parts[:] = [_decided(part, steps) for part in self.parts]

    def __len__(self) -> int:
        """Return how many parts there are in the network, or in the open group."""
        return len(self.parts)

    def rename(
        self,
        step: t.ChainStep,
        olds: Sequence[NameTemplate],
        space: Namespace,
        before: int,
    ) -> None:
        """Enter the older names of the last part.

        Raises:
            Fault: if it owns no name, or a name cannot be one that it had.
        """
        assert step.renamed is not None
        last = self.parts[-1] if len(self.parts) == before + 1 else None
        fed = last if isinstance(last, Group) and last.role == "structure" else None
        if fed is not None and isinstance(fed.children[-1], Group):
            last = fed.children[-1]  # a block with several inputs, behind its branches
        owns = isinstance(last, Step) or (last is not None and last.role in OWNERS)
        if last is None or not owns or last.span is not step.span or last.shared:
            raise _no_old_names(step, last is not None and last.shared)
        for name, written in zip(olds, step.renamed, strict=True):
            claim_old(name, last.name, written.span, space)
        given = [new_old_name(name=str(name), pattern=name.pattern) for name in olds]
        new: StepOrGroup = changed(last, renamed_from=tuple(given))
        if isinstance(new, Step):
            self.steps[new.output] = new
        self.parts[-1] = (
            new if fed is None else changed(fed, children=(*fed.children[:-1], new))
        )

    def repeat(self, first: Value, second: Value) -> None:
        """Do nothing: each use of a part has steps of its own."""


def _decided(part: StepOrGroup, steps: Mapping[int, Step]) -> StepOrGroup:
    if isinstance(part, Step):
        return steps.get(part.output, part)
    if part.role == "block":
        return part  # its own are decided
    children = tuple([_decided(child, steps) for child in part.children])
    return changed(part, children=children)


def _no_old_names(step: t.ChainStep, shared: bool) -> Fault:
    assert step.renamed is not None
    return Fault(
        "A0110",
        "a layer with shared weights has no older names of its own"
        if shared
        else "only something with a name of its own can have older names",
        step.renamed[0].span,
        help="write `renamed from` where the weights are first used"
        if shared
        else "give it a label, or write `renamed from` behind a layer in it",
    )


def _parameters(owner: Owner) -> tuple[Parameter, ...]:
    """Return the channels of an owner's inputs, and a block's parameters."""
    definition = owner.definition
    names = ["in_channels"]
    if definition:
        names += [channels_of_input(name) for name, _ in definition.inputs[1:]]
    found = [
        new_parameter(name=name, value=channels(end.shape or ()))
        for name, end in zip(names, owner.ends, strict=True)
    ]
    if definition:
        found += parameters_of(definition, owner.values)
    return tuple(found)


def parameters_of(
    definition: t.Definition, values: Mapping[str, Any]
) -> list[Parameter]:
    """Return a definition's parameters with their values and literal defaults."""
    return [
        new_parameter(name=p.name, value=values[p.name], default=_literal(p.default))
        for p in definition.params
    ]


def _literal(default: t.Expr | None) -> Any:
    if isinstance(default, t.Literal):
        return default.value
    return Dims(default.dims) if isinstance(default, t.DimsLiteral) else None


def _ports(owner: Owner) -> tuple[Port, ...]:
    """Return the inputs of a call of a block, if it has several."""
    inputs = owner.definition.inputs if owner.definition else []
    return tuple(
        [
            new_port(name=name, value=end.number, shape=end.shape or ())
            for (name, _), end in zip(inputs, owner.ends, strict=bool(inputs))
        ]
    )


def _extras(value: Value) -> tuple[Port, ...]:
    """Return the other outputs of a group or block."""
    return tuple(
        [
            new_port(name=name, value=one.number, shape=one.shape or ())
            for name, one in value.extras.items()
        ]
    )


def _origin(definition: t.Definition | None) -> str:
    if definition is None:
        return ""
    return f"{definition.span.source.name}:{definition.span.start}"
