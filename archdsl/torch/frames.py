"""How long a running program keeps the values of a network alive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from archdsl.ir import OWNERS, Group, Step
from archdsl.ir.graph import Graph, Node

# Groups that become modules: a call holds its arguments until it ends.


class Frames(NamedTuple):
    """How long the calls of a network's modules keep values alive.

    Attributes:
        until: for every value, the place of the node after which the program no longer
            holds it.
        lent: outputs of the steps that a module's own code computes from its arguments.
            Its own code never overwrites an argument; a submodule may.
    """

    until: dict[int, int]
    lent: frozenset[int]


def frames(graph: Graph, nodes: tuple[Node, ...]) -> Frames:
    """Return how long the compiled program holds each value.

    A value that one statement passes to another lives until that statement ends. An
    argument of a module lives until the call ends. A value that has a name in the spec
    and is read twice lives until the call of the module that computes it ends. A chain
    of the spec is one statement; within it, a value lives until its last use.
    """
    walk = _Walk(nodes)
    walk.frame(graph.network.root)
    return Frames(walk.until, frozenset(walk.lent))


class _Item(NamedTuple):
    """A layer, or the call of a module, as seen by the calling frame.

    Attributes:
        statement: number of the statement that it is part of.
        reads: its arguments.
        first: place of its first node.
        last: place of its last node.
        function: the value that it computes if it is written as a function, or None.
        named: the value that it computes if the spec has a name for it, or None.
    """

    statement: int
    reads: frozenset[int]
    first: int
    last: int
    function: int | None = None
    named: int | None = None


class _Walk:
    def __init__(self, nodes: tuple[Node, ...]) -> None:
        self.places = {node.output: at for at, node in enumerate(nodes)}
        self.until = dict(self.places)
        self.lent: set[int] = set()

    def frame(self, group: Group) -> _Item | None:
        """Walk through a module's call; return how its caller sees it, if anything
        runs.
        """
        items = list(self._items(group))
        if not items:
            return None
        first, last = items[0].first, items[-1].last
        reads: set[int] = set()
        for _, statement in groupby(items, attrgetter("statement")):
            reads |= self._statement(list(statement))
        outside = frozenset([v for v in reads if self.places.get(v, -1) < first])
        counts = Counter([value for item in items for value in item.reads])
        for item in items:
            if item.named is not None and counts[item.named] > 1:
                # Its variable has its own name, so it is never reassigned.
                self._hold(item.named, last)
            if item.function is not None and not outside.isdisjoint(item.reads):
                self.lent.add(item.function)
        named = group.output if group.name.isidentifier() else None
        return _Item(group.statement, outside, first, last, named=named)

    def _statement(self, items: list[_Item]) -> set[int]:
        """Hold what a statement reads; return the values that come from outside it."""
        start, end = items[0].first, items[-1].last
        outside = set()
        for item in items:
            for value in item.reads:
                if self.places.get(value, -1) < start:
                    outside.add(value)
                    self._hold(value, end)
                else:
                    self._hold(value, item.last)
        return outside

    def _hold(self, value: int, place: int) -> None:
        if self.until.get(value, -1) < place:
            self.until[value] = place

    def _items(self, group: Group) -> Iterator[_Item]:
        for child in group.children:
            if isinstance(child, Step):
                at = self.places.get(child.output)
                if at is not None:
                    is_module = child.labelled or child.name.isdigit()
                    function = None if is_module else child.output
                    reads = frozenset(child.inputs)
                    named = child.output if _is_named(child) else None
                    yield _Item(child.statement, reads, at, at, function, named)
            elif child.role in OWNERS:
                call = self.frame(child)
                if call is not None:
                    yield call
            else:
                yield from self._items(child)


def _is_named(step: Step) -> bool:
    return step.labelled and step.name.isidentifier()
