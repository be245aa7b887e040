"""Cuts a picture into columns, at places that one value crosses and few blocks span."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from archdsl.ir import Port
from archdsl.values import Shape

from .picture import Box, Edge, Picture, PicturePart, drawn_nodes
from .routes import JOINT


class Seam(NamedTuple):
    """A place between two nodes where a picture can be cut.

    Attributes:
        part: the number of the picture's parts before it.
        child: the number of the next box's parts before it; 0 for a cut between two
            parts.
        value: the value that crosses it.
        shape: the shape of that value.
        above: where the lowest node before it ends.
    """

    part: int
    child: int
    value: int
    shape: Shape
    above: float


def cut(
    drawn: Picture, bottoms: Mapping[int, float], number: int
) -> list[tuple[Picture, float]]:
    """Return a picture as columns of about equal height, each with its beginning.

    Fewer are returned where there are too few places to cut.

    Args:
        drawn: the picture.
        bottoms: how far down each node ends, by the output of its first step.
        number: the number of columns.
    """
    drawn = _side_lines_first(drawn)
    found = [*seams(drawn, bottoms)]
    height = max(bottoms.values(), default=0.0)
    chosen: list[Seam] = []
    for place in range(1, number):
        goal = height * place / number
        after = chosen[-1].above if chosen else 0.0
        rest = [seam for seam in found if seam.above > after]
        if rest:
            chosen.append(min(rest, key=lambda seam: abs(seam.above - goal)))
    columns: list[tuple[Picture, float]] = []
    for seam in reversed(chosen):
        drawn, tail = _split(drawn, seam)
        columns.insert(0, (_in_order(tail), seam.above))
    return [(_in_order(drawn), 0.0), *columns]


def _side_lines_first(drawn: Picture) -> Picture:
    """Return a picture in which parts for outputs only directly follow their input.

    Otherwise, a value that an auxiliary head reads would cross all places up to the
    head.
    """
    maker = {
        step.output: at
        for at, part in enumerate(drawn.parts)
        for node in drawn_nodes([part])
        for step in node.steps
    }
    tails: dict[int, set[int]] = {}
    heads: dict[int, set[int]] = {}
    for edge in drawn.edges:
        tail = maker.get(edge.tail, -1)
        if isinstance(edge.head, int) and maker[edge.head] != tail:
            tails.setdefault(maker[edge.head], set()).add(tail)
            heads.setdefault(tail, set()).add(maker[edge.head])

    def place(at: int) -> tuple[int, int]:
        read = tails.get(at, set())
        return (max(read), at) if len(read) == 1 and at not in heads else (at, -1)

    order = sorted(range(len(drawn.parts)), key=place)
    return drawn._replace(parts=tuple(drawn.parts[at] for at in order))


def _in_order(drawn: Picture) -> Picture:
    """Return a column with its parts back in the spec's order."""

    def first(part: PicturePart) -> int:
        return next(drawn_nodes([part])).steps[0].output

    return drawn._replace(parts=tuple(sorted(drawn.parts, key=first)))


def seams(drawn: Picture, bottoms: Mapping[int, float]) -> Iterator[Seam]:
    """Yield the places where one value crosses, and at most one box is split."""
    order: dict[int, int] = {}
    nodes = [*drawn.nodes()]
    for place, node in enumerate(nodes):
        order.update((step.output, place) for step in node.steps)
    last: dict[int, int] = {}
    shapes: dict[int, Shape] = {}
    for edge in drawn.edges:
        shapes[edge.tail] = edge.shape
        if isinstance(edge.head, int):
            last[edge.tail] = max(last.get(edge.tail, -1), order[edge.head])
    crossing = _crossing(order, last, len(nodes))
    at, above = 0, 0.0
    for part, child, least, size in _places(drawn.parts):
        for node in nodes[at : at + size]:
            above = max(above, bottoms[node.steps[0].output])
        at += size
        alive = crossing[at] if at < len(nodes) else []
        # A value from before the split box would have to enter it twice.
        if len(alive) == 1 and order.get(alive[0], -1) >= least:
            yield Seam(part, child, alive[0], shapes[alive[0]], above)


def _crossing(order: Mapping[int, int], last: Mapping[int, int], nodes: int) -> Lists:
    """Return for each node the values made before it, and read there or later."""
    starts: Lists = [[] for _ in range(nodes + 1)]
    ends: Lists = [[] for _ in range(nodes + 1)]
    for value, end in last.items():
        start = order.get(value, -1) + 1
        if end >= start:
            starts[start].append(value)
            ends[end + 1 if end < nodes else nodes].append(value)
    alive: dict[int, None] = {}
    found: Lists = []
    for place in range(nodes):
        alive.update(dict.fromkeys(starts[place]))
        for value in ends[place]:
            alive.pop(value, None)
        # Columns are never cut where more than two values cross.
        found.append([value for value, _ in zip(alive, range(2), strict=False)])
    return found


Lists = list[list[int]]


def _places(parts: tuple[PicturePart, ...]) -> Iterator[tuple[int, int, int, int]]:
    """Yield for each place its part and child, its first node, and some nodes.

    The nodes are those since the previous place.
    """
    at = 0
    for index, part in enumerate(parts):
        start = at
        if isinstance(part, Box) and part.heading.copies == 1:
            for child, inner in enumerate(part.parts[:-1], 1):
                size = len([*drawn_nodes([inner])])
                at += size
                yield index, child, start, size
            size = len([*drawn_nodes(part.parts[-1:])])
        else:
            size = len([*drawn_nodes([part])])
        at += size
        yield index + 1, 0, -1, size


def _split(drawn: Picture, seam: Seam) -> tuple[Picture, Picture]:
    before, after = drawn.parts[: seam.part], drawn.parts[seam.part :]
    if seam.child:
        torn = after[0]
        assert isinstance(torn, Box)
        before = (*before, torn._replace(parts=torn.parts[: seam.child]))
        rest = torn._replace(parts=torn.parts[seam.child :], continued=True)
        after = (rest, *after[1:])
    below = {step.output for node in drawn_nodes(after) for step in node.steps}
    above: list[Edge] = []
    under: list[Edge] = []
    for edge in drawn.edges:
        here = edge.head if isinstance(edge.head, int) else edge.tail
        (under if here in below else above).append(edge)
    joint = Port(name=JOINT, value=seam.value, shape=seam.shape)
    above.append(Edge(seam.value, joint, seam.shape, training=False))
    head = drawn._replace(parts=before, edges=tuple(above))
    tail = drawn._replace(parts=after, edges=tuple(under), inputs=(joint,))
    return head, tail
