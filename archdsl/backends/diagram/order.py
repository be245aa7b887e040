"""Tells in which order branches have to stand, and what pulls them there.

A layout engine orders the nodes of a row so that few arrows cross. It leaves branches
as they are written if nothing speaks against it, and has no option that makes it do so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cmp_to_key
from itertools import pairwise

from .picture import Closed, Picture

# Nodes that have to stand in this order.
NodeRow = tuple[str, ...]
# An arrow that is not drawn.
Pull = tuple[str, str]


class BranchOrder:
    """The order of a picture's branches: that in which the spec writes them.

    Ways that meet stand in the order in which the layer where they meet reads them;
    where they meet several times, the last one tells, which is that of the outermost
    braces. Ways that never meet stand in the order in which they are written. A node
    that leads to another one of those that meet stands on no branch of its own: it is
    what a residual adds.

    Attributes:
        rows: nodes that have to stand from left to right, or from top to bottom.
    """

    def __init__(
        self,
        names: Sequence[str],
        arrows: Mapping[Pull, bool],
        reads: Mapping[str, NodeRow],
    ) -> None:
        """Find what has to stand in which order.

        Args:
            names: the names of all nodes, as they are written.
            arrows: from node to node; whether each of them ends at its head, and not
                at the border of a box around that.
            reads: the nodes whose values each node reads, in that order.
        """
        self._arrows = arrows
        self._bit = {name: 1 << at for at, name in enumerate(names)}
        self._heads: dict[str, list[str]] = {name: [] for name in names}
        self._tails: dict[str, list[str]] = {name: [] for name in names}
        for tail, head in arrows:
            self._heads[tail].append(head)
            self._tails[head].append(tail)
        # The nodes that each one leads to, itself included, as bits.
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
        """Return where the arrows of branches start that end at a node."""
        starts: dict[str, None] = {}
        for tail in tails:
            # It may be a triangle that the value of the tail passes.
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
        """Return the nodes that begin a way at a node: those that read nothing else."""
        heads = (head for head in self._heads[tail] if set(self._tails[head]) == {tail})
        return tuple(sorted(dict.fromkeys(heads), key=self._bit.__getitem__))

    def _leads(self, tail: str, head: str) -> bool:
        return bool(self._after[tail] & self._bit[head])

    def _compare(self, one: str, other: str) -> int:
        """Return which of two ways stands first: below 0 for `one`."""
        for row in self._merges:
            places = [
                next((at for at, tail in enumerate(row) if self._leads(way, tail)), -1)
                for way in (one, other)
            ]
            if min(places) >= 0 and places[0] != places[1]:
                return places[0] - places[1]
        return 0

    def wrong(self, places: Mapping[str, float]) -> list[NodeRow]:
        """Return the rows that do not stand in order, each up to its last fault.

        Args:
            places: the places of the nodes' middles, growing in the order in which to
                stand.
        """
        found: list[NodeRow] = []
        for row in self.rows:
            at = [places[name] for name in row]
            faults = [end for end in range(1, len(row)) if at[end - 1] >= at[end]]
            if faults:
                found.append(row[: faults[-1] + 1])
        return found

    def pulls(self, rows: Iterable[NodeRow]) -> list[Pull]:
        """Return arrows that pull each node of a row towards the one before it.

        They start where that one comes from. Then more arrows cross where the node
        stands on the wrong side than where it stands on the right one.
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
        ids: the nodes that make a value, by its number.
    """
    made = {
        twin.output: value for value, twins in drawn.twins.items() for twin in twins
    }
    found: dict[str, NodeRow] = {}
    for node in drawn.nodes():
        if isinstance(node, Closed):
            # What flows in is the first branch, even if a layer behind others reads it.
            value = node.box.group.input
            name = ids.get(made.get(value, value), "")
            found[ids[node.steps[0].output]] = (name,) if name else ()
    for edge in drawn.edges:
        if isinstance(edge.head, int) and not edge.reference:
            name = ids[edge.head]
            found[name] = (*found.get(name, ()), ids[edge.tail])
    return found
