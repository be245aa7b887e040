"""Chooses which arrows to draw, so that none crosses the title of a box.

An arrow from outside ends at the border of a box. If several parts of the box read its
input, it ends at a small triangle below the title, and arrows fan out from there. The
same is done if different parts read several values; otherwise the picture would not
show which part reads which value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, Protocol

from .picture import Box, Edge, Picture, PicturePart

# Name of the node that represents the other columns of a picture.
JOINT: Final = "\0joint"


class UniqueNames(Protocol):
    """Makes names that are unique."""

    def new_id(self) -> str:
        """Return the name of a node."""

    def new_box(self) -> str:
        """Return the name of a box."""


class Arrow(NamedTuple):
    """An arrow from one node to another.

    Attributes:
        start: the node where it starts.
        end: the node where it ends.
        edges: the edges that it represents.
        border: the box at whose border its tip is, if not at the node's.
    """

    start: str
    end: str
    edges: tuple[Edge, ...]
    border: str


class Routes:
    """The arrows of one picture.

    Attributes:
        arrows: all of them.
        clusters: the names of boxes, by identity.
        triangles: the names of the triangles in each box, by its identity.
    """

    def __init__(
        self,
        drawn: Picture,
        makers: Mapping[int, str],
        nodes: Mapping[int, str],
        names: UniqueNames,
    ) -> None:
        self.arrows: list[Arrow] = []
        self.clusters: dict[int, str] = {}
        self.triangles: dict[int, list[str]] = {}
        self._makers = makers
        self._nodes = nodes
        self._names = names
        self._around_of: dict[int, tuple[Box, ...]] = {}
        self._find(drawn.parts)
        self._crowded = self._find_crowded(drawn.edges)
        readers: dict[int, list[Edge]] = {}
        for edge in drawn.edges:
            readers.setdefault(edge.tail, []).append(edge)
        for value, edges in readers.items():
            self._leave(value, edges)

    def _find(self, parts: Iterable[PicturePart]) -> None:
        """Record the boxes around each step, the outermost first."""
        stack: list[tuple[PicturePart, tuple[Box, ...]]] = [
            (part, ()) for part in parts
        ]
        while stack:
            part, around = stack.pop()
            if isinstance(part, Box):
                self.clusters[id(part)] = self._names.new_box()
                inside = (*around, part)
                stack += [(child, inside) for child in reversed(part.parts)]
            else:
                self._around_of.update((step.output, around) for step in part.steps)

    def _find_crowded(self, edges: Iterable[Edge]) -> set[int]:
        """Return the boxes whose parts read several different values from outside."""
        values: dict[int, set[int]] = {}
        parts: dict[int, set[object]] = {}
        for edge in edges:
            outside = {id(box) for box in self._around(edge)}
            outside -= {id(box) for box in self._around_of.get(edge.tail, ())}
            for level, box in enumerate(self._around(edge), 1):
                if id(box) in outside:
                    values.setdefault(id(box), set()).add(edge.tail)
                    parts.setdefault(id(box), set()).add(self._part(edge, level))
        return {box for box in values if min(len(values[box]), len(parts[box])) > 1}

    def _around(self, edge: Edge) -> tuple[Box, ...]:
        return self._around_of[edge.head] if isinstance(edge.head, int) else ()

    def _leave(self, value: int, edges: list[Edge]) -> None:
        """Draw the edges of a value: first those beside its maker, then outer ones."""
        around = self._around_of.get(value, ())
        by_level: dict[int, list[Edge]] = {}
        for edge in edges:
            pairs = zip(around, self._around(edge), strict=False)
            level = next(
                (at for at, (a, b) in enumerate(pairs) if a is not b),
                min(len(around), len(self._around(edge))),
            )
            by_level.setdefault(level, []).append(edge)
        for level in sorted(by_level, reverse=True):
            self._fan(self._makers[value], by_level[level], level, "")

    def _fan(self, start: str, edges: list[Edge], level: int, border: str) -> None:
        """Draw arrows from one node to all of its readers on a level and below."""
        by_part: dict[int, list[Edge]] = {}
        for edge in edges:
            around = self._around(edge)
            key = id(around[level]) if len(around) > level else -id(edge)
            by_part.setdefault(key, []).append(edge)
        for key, own in by_part.items():
            if key < 0:
                self.arrows.append(Arrow(start, self._end(own[0]), (*own,), border))
            else:
                self._enter(start, own, level, border)

    def _enter(self, start: str, edges: list[Edge], level: int, border: str) -> None:
        """Draw arrows into a box, through a triangle if several parts are readers."""
        box = self._around(edges[0])[level]
        border = border or self.clusters[id(box)]
        parts = {self._part(edge, level + 1) for edge in edges}
        if len(parts) == 1 and id(box) not in self._crowded:
            self._fan(start, edges, level + 1, border)
            return
        triangle = self._names.new_id()
        self.triangles.setdefault(id(box), []).append(triangle)
        self.arrows.append(Arrow(start, triangle, tuple(edges), border))
        self._fan(triangle, edges, level + 1, "")

    def _part(self, edge: Edge, level: int) -> object:
        """Return which part of a box an edge leads into."""
        around = self._around(edge)
        return id(around[level]) if len(around) > level else (edge.head,)

    def _end(self, edge: Edge) -> str:
        head = edge.head
        return self._makers[head] if isinstance(head, int) else self._nodes[id(head)]
