"""What a class's `forward` does, as a list of operations in order.

Transparent groups of the IR dissolve here: what remains are steps, submodules,
loops over alike submodules, and shortcuts that may or may not project.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ...ir import Group, Step

OWNERS = ("network", "block", "group")


class Op(NamedTuple):
    """One operation.

    Attributes:
        node: the step or group behind it.
        reads: numbers of the values it reads, in order.
        output: number of the value it makes.
        statement: operations of one chain share this number.
        label: the spec's name for the output, empty if it has none.
        copies: for a loop, the operations of each of its copies.
        hole: name of a projection that may be there, for a shortcut.
        training: whether it only serves outputs of the training mode.
    """

    node: Step | Group
    reads: tuple[int, ...]
    output: int
    statement: int
    label: str = ""
    copies: tuple[tuple[Op, ...], ...] = ()
    hole: str = ""
    training: bool = False

    @property
    def is_merge(self) -> bool:
        """Whether it joins several values."""
        return isinstance(self.node, Step) and self.node.op.arity is None


def operations(owner: Group) -> tuple[Op, ...]:
    """Return the operations of a class, for the group that owns its names."""
    return tuple(_Flattener().children(owner.children))


class _Flattener:
    """Turns groups into operations; numbers the values that only code has."""

    def __init__(self) -> None:
        self.replaced: dict[tuple[int, int], int] = {}
        self.fresh = 0

    def children(self, children: Iterable[Step | Group]) -> Iterator[Op]:
        """Yield the operations of some parts, in order."""
        for child in children:
            if isinstance(child, Step):
                yield self._step(child)
            elif child.role in OWNERS:
                yield self._module(child)
            elif child.role == "repeat":
                yield from self._repeat(child)
            elif child.role == "structure":
                yield from self._structure(child)
            else:
                yield from self.children(child.children)

    def _step(self, step: Step) -> Op:
        reads = tuple(
            self.replaced.get((step.output, place), value)
            for place, value in enumerate(step.inputs)
        )
        label = step.name if step.labelled else ""
        return Op(
            step, reads, step.output, step.statement, label, training=step.training
        )

    def _module(self, group: Group) -> Op:
        reads = external_values(group)
        return Op(
            group,
            reads,
            group.output,
            group.statement,
            group.name,
            training=group.training,
        )

    def _structure(self, group: Group) -> Iterator[Op]:
        for child in group.children:
            if isinstance(child, Group) and child.role == "shortcut" and child.condition:
                yield self._shortcut(child, group)
            else:
                yield from self.children((child,))

    def _shortcut(self, shortcut: Group, structure: Group) -> Op:
        """Return the projection, there or not, as one operation."""
        output = shortcut.output
        if not shortcut.children:
            # The sum reads the projection's value, which here is the input itself.
            self.fresh -= 1
            output = self.fresh
            add = structure.children[-1]
            assert isinstance(add, Step)
            self.replaced[add.output, 1] = output
        return Op(
            shortcut, (shortcut.input,), output, shortcut.statement, hole=shortcut.name
        )

    def _repeat(self, group: Group) -> Iterator[Op]:
        copies = []
        for copy in group.children:
            assert isinstance(copy, Group)
            copies.append(tuple(self.children(copy.children)))
        if copies and all(_is_link(c, g) for c, g in zip(copies, group.children, strict=True)):
            yield Op(
                group,
                (group.input,),
                group.output,
                group.statement,
                copies=tuple(copies),
                training=group.training,
            )
        else:
            for ops in copies:
                yield from ops


def _is_link(ops: tuple[Op, ...], copy: Step | Group) -> bool:
    """Return whether a copy only reads what the copy before it made."""
    assert isinstance(copy, Group)
    known = {copy.input}
    for op in ops:
        if not known.issuperset(op.reads):
            return False
        known.add(op.output)
    return bool(ops) and copy.output in known and copy.output != copy.input


def external_values(group: Group) -> tuple[int, ...]:
    """Return the values that a group reads from outside: its input first."""
    made: set[int] = set()
    found: dict[int, None] = {}
    for step in group.steps():
        for value in step.inputs:
            if value not in made:
                found[value] = None
        made.add(step.output)
    if group.output not in made:
        found[group.output] = None
    rest = [value for value in found if value != group.input]
    return (group.input, *rest) if group.input in found else tuple(rest)


def is_chain(ops: tuple[Op, ...], group: Group) -> bool:
    """Return whether every operation reads just what the one before it made."""
    value = group.input
    for op in ops:
        if op.reads != (value,) or op.hole or op.is_merge:
            return False
        if op.copies and not all(is_chain(copy, _copy(op, n)) for n, copy in enumerate(op.copies)):
            return False
        value = op.output
    return bool(ops) and value == group.output


def _copy(op: Op, number: int) -> Group:
    assert isinstance(op.node, Group)
    copy = op.node.children[number]
    assert isinstance(copy, Group)
    return copy


def unrolled(ops: Iterable[Op]) -> Iterator[Op]:
    """Yield operations with loops written out."""
    for op in ops:
        if op.copies:
            for copy in op.copies:
                yield from unrolled(copy)
        else:
            yield op
