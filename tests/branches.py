"""The order of branches in a drawing, compared with the order in the network.

The expected order follows from the order in which layers read values. The drawn order
follows from the coordinates of the layout engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cmp_to_key
from typing import Any

from archdsl.backends.diagram.picture import path_of
from archdsl.ir import Group, Network, Step

Row = tuple[str, ...]


class Branches:
    """The branches of a picture.

    Attributes:
        meets: groups of nodes whose arrows lead to the same node.
        forks: groups of nodes whose arrows come from the same node. Both should stand
            in the order in which the layer where they meet reads them, or else in the
            order of the spec.
    """

    def __init__(
        self,
        network: Network,
        graph: Mapping[str, Any],
        paths: Mapping[str, str],
        *,
        downwards: bool,
    ) -> None:
        """Find the branches of a picture.

        Args:
            network: the network that is drawn.
            graph: the engine's JSON.
            paths: the paths that nodes stand for, by node id.
            downwards: whether branches are placed below each other.
        """
        self.network, self.paths = network, paths
        self.steps = [*network.root.steps()]
        names = {one["_gvid"]: one["name"] for one in graph["objects"]}
        self.places: dict[str, float] = {}
        for one in graph["objects"]:
            if "pos" in one:
                x, y = map(float, one["pos"].split(","))
                self.places[one["name"]] = -y if downwards else x
        self.heads: dict[str, list[str]] = {}
        self.tails: dict[str, list[str]] = {}
        # Edges that end at the border of a box instead of at a node.
        self.bordered: set[tuple[str, str]] = set()
        for edge in graph.get("edges", ()):
            tail, head = names[edge["tail"]], names[edge["head"]]
            self.heads.setdefault(tail, []).append(head)
            self.tails.setdefault(head, []).append(tail)
            if "lhead" in edge:
                self.bordered.add((tail, head))
        self.merges = [*map(self._tails_in_order, sorted(self.tails, key=self._first))]
        self.meets = [row for row in map(self._meeting, self.tails) if len(row) > 1]
        self.forks = [row for row in map(self._fork, self.heads) if len(row) > 1]

    def out_of_order(self) -> list[Row]:
        """Return the paths of branches that are not in order."""
        return [
            tuple(self.paths.get(name, "") for name in row)
            for row in (*self.meets, *self.forks)
            if [*map(self.places.__getitem__, row)]
            != sorted(self.places[name] for name in row)
        ]

    def _tails_in_order(self, head: str) -> Row:
        """Return the nodes that a node reads from, in the order of reading."""
        reads = self._reads(head)
        found: dict[str, int] = {}
        for tail in self.tails[head]:
            made = self._made(tail)
            place = next((at for at, value in enumerate(reads) if value in made), None)
            if place is not None:
                found[tail] = place
        return tuple(sorted(found, key=found.__getitem__))

    def _meeting(self, head: str) -> Row:
        row = self._tails_in_order(head)
        row = tuple(tail for tail in row if (tail, head) not in self.bordered)
        row = tuple(a for a in row if not any(self._leads(a, b) for b in row if a != b))
        return tuple(sorted(row, key=cmp_to_key(self._before)))

    def _fork(self, tail: str) -> Row:
        row = [head for head in self.heads[tail] if len(self.tails[head]) == 1]
        made = self._made(tail)
        drawn = {step.output for head in row for step in self._own(head)}

        def first(head: str) -> int:
            if self.paths.get(head):
                return self._first(head)
            # The chain continues in another row or column, next to other readers of the
            # value.
            others = (
                at
                for at, step in enumerate(self.steps)
                if made.intersection(step.inputs) and step.output not in drawn
            )
            return next(others, len(self.steps))

        return tuple(sorted(sorted(row, key=first), key=cmp_to_key(self._before)))

    def _own(self, name: str) -> list[Step]:
        """Return a node's steps; for a folded box, those of the first copy."""
        paths = self.paths.get(name, "").removeprefix("input of ").split(" and ")
        inside = tuple(f"{path}." for path in paths)
        return [
            step
            for step in self.steps
            if path_of(step) in paths or step.path.startswith(inside)
        ]

    def _reads(self, name: str) -> list[int]:
        """Return the values that a node reads, the input of a block first."""
        own = self._own(name)
        made = {step.output for step in own}
        path = self.paths.get(name)
        values = [g.input for g in groups(self.network.root) if path_of(g) == path]
        values += [value for step in own for value in step.inputs]
        return [value for value in values if value not in made]

    def _made(self, name: str) -> set[int]:
        """Return the values that a node outputs; for a triangle, its inputs."""
        path = self.paths.get(name, "")
        if not path or path.startswith("input of "):
            return {v for tail in self.tails.get(name, ()) for v in self._made(tail)}
        ports = {port.value for port in self.network.inputs if port.name == path}
        return ports or {step.output for step in self._own(name)}

    def _leads(self, one: str, other: str) -> bool:
        seen, waiting = {one}, [one]
        while waiting:
            for head in self.heads.get(waiting.pop(), ()):
                if head not in seen:
                    seen.add(head)
                    waiting.append(head)
        return other in seen

    def _before(self, one: str, other: str) -> int:
        """Compare branches by the order where they meet; below 0 if `one` is first."""
        for row in reversed(self.merges):
            first, second = (
                next((at for at, node in enumerate(row) if self._leads(way, node)), -1)
                for way in (one, other)
            )
            if min(first, second) >= 0 and first != second:
                return first - second
        return 0

    def _first(self, name: str) -> int:
        """Return the position of a node's first step in the spec; ports come last."""
        own = self._own(name)
        return self.steps.index(own[0]) if own else len(self.steps)


def groups(root: Group) -> Iterator[Group]:
    """Yield all groups of a network."""
    stack: list[Step | Group] = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, Group):
            yield node
            stack += node.children
