"""Determines the order of branches, and invisible arrows that put them in it.

A layout engine orders the nodes of a row so that few arrows cross. It may keep branches
in the order in which they are written, but no option makes it do so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cmp_to_key
from itertools import pairwise

from .picture import Closed, Picture

# Nodes that must be placed in this order.
NodeRow = tuple[str, ...]
# An arrow that is not drawn.
Pull = tuple[str, str]


class BranchOrder:
    """The order of a picture's branches, which is that of the spec.

    Branches that are joined have the order in which the joining layer reads them. If
    two branches are joined several times, the last join decides, which is that of the
    outermost braces. Branches that are never joined have the order in which they are
    written. A joined node from which another joined node can be reached is not on a
    branch of its own: it is the input that a residual adds.

    Attributes:
        rows: nodes that must be in order from left to right, or from top to bottom.
    """

    def __init__(
        self,
        names: Sequence[str],
        arrows: Mapping[Pull, bool],
        reads: Mapping[str, NodeRow],
    ) -> None:
        """Find the order of the nodes.

        Args:
            names: the names of all nodes, in the order in which they are written.
            arrows: pairs of nodes; for each, whether it ends at its head and not at the
                border of a box around the head.
            reads: the nodes whose values each node reads, in order.
        """
        self._arrows = arrows
        self._bit = {name: 1 << at for at, name in enumerate(names)}
        self._heads: dict[str, list[str]] = {name: [] for name in names}
        self._tails: dict[str, list[str]] = {name: [] for name in names}
        for tail, head in arrows:
            self._heads[tail].append(head)
            self._tails[head].append(tail)
        # The nodes that can be reached from each one, itself included, as bits.
        self._after: dict[str, int] = {}
        for name in reversed(names):
            found = self._bit[name]
            for head in self._heads[name]:
                found |= self._after.get(head, 0)
            self._after[name] = found
        self._merges = [row for row in reads.values() if len(row) > 1][::-1]
        meets = (self._branches(head, tails) for head, tails in reads.items())
        rows = [*meets, *map(self._begun, names)]
        self.rows = [
            tuple(sorted(row, key=cmp_to_key(self._compare)))
            for row in rows
            if len(row) > 1
        ]

    def _branches(self, head: str, tails: NodeRow) -> NodeRow:
        """Return the nodes at the ends of the branches that are joined at a node."""
        starts: dict[str, None] = {}
        for tail in tails:
            # It may be a triangle through which the value of the tail passes.
            found = (start for start in self._tails[head] if self._leads(tail, start))
            start = tail if tail in self._tails[head] else next(found, tail)
            if self._arrows.get((start, head)):
                starts[start] = None
        return tuple(
            start
            for start in starts
            if not any(self._leads(start, other) for other in starts if other != start)
        )

    def _begun(self, tail: str) -> NodeRow:
        """Return the nodes that begin a branch at a node: they read nothing else."""
        heads = (head for head in self._heads[tail] if set(self._tails[head]) == {tail})
        return tuple(sorted(dict.fromkeys(heads), key=self._bit.__getitem__))

    def _leads(self, tail: str, head: str) -> bool:
        return bool(self._after[tail] & self._bit[head])

    def _compare(self, one: str, other: str) -> int:
        """Compare two branches; the result is below 0 if `one` comes first."""
        for row in self._merges:
            places = [
                next((at for at, tail in enumerate(row) if self._leads(way, tail)), -1)
                for way in (one, other)
            ]
            if min(places) >= 0 and places[0] != places[1]:
                return places[0] - places[1]
        return 0

    def wrong(self, places: Mapping[str, float]) -> list[NodeRow]:
        """Return the rows that are not in order, each up to its last wrong node.

        Args:
            places: coordinates of the nodes' centres, along the direction of the order.
        """
        found: list[NodeRow] = []
        for row in self.rows:
            at = [places[name] for name in row]
            faults = [end for end in range(1, len(row)) if at[end - 1] >= at[end]]
            if faults:
                found.append(row[: faults[-1] + 1])
        return found

    def pulls(self, rows: Iterable[NodeRow]) -> list[Pull]:
        """Return invisible arrows that pull each node of a row to the one before it.

        They start at the nodes that the previous node reads. So more arrows cross if
        the node is on the wrong side than if it is on the right one.
        """
        found: dict[Pull, None] = {}
        for one, other in (pair for row in rows for pair in pairwise(row)):
            for tail in self._tails[one][-1:]:
                if not self._leads(other, tail) and other not in self._heads[tail]:
                    found[tail, other] = None
        return [*found]


def node_reads(drawn: Picture, ids: Mapping[int, str]) -> dict[str, NodeRow]:
    """Return the nodes whose values each node reads, as its branches are written.

    Args:
        drawn: the picture.
        ids: the nodes that make values, by the values' numbers.
    """
    made = {
        twin.output: value for value, twins in drawn.twins.items() for twin in twins
    }
    found: dict[str, NodeRow] = {}
    for node in drawn.nodes():
        if isinstance(node, Closed):
            # The input comes first, even if a later branch reads it.
            value = node.box.group.input
            name = ids.get(made.get(value, value), "")
            found[ids[node.steps[0].output]] = (name,) if name else ()
    for edge in drawn.edges:
        if isinstance(edge.head, int) and not edge.reference:
            name = ids[edge.head]
            found[name] = (*found.get(name, ()), ids[edge.tail])
    return found
