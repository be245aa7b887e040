"""Estimates the size of a picture without a layout engine.

For all shipped networks, the height of dot's layout is within a few percent of the
estimate. So the same depth is chosen with and without an engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .labels import closed_lines, fitting_heading, node_lines
from .options import Options
from .picture import Box, Closed, Picture, PictureNode, PicturePart

# In points, for text of 11 points: the height of a line, the space around a node's
# lines, between rows and for each border that an arrow crosses, and the average width
# of a character.
_LINE = 13.2
_AROUND = 4.5
_BETWEEN = 11.0
_ENTER = 27.0
_LEAVE = 8.0
_CHARACTER = 5.6
_BESIDE = 14.0


class Size(NamedTuple):
    """The size of a picture, in points."""

    width: float
    height: float


class Measured(NamedTuple):
    """An estimate of a picture's layout.

    Attributes:
        size: the size of the picture.
        bottoms: how far down each node ends, by the output of its first step.
    """

    size: Size
    bottoms: Mapping[int, float]


def estimate_size(drawn: Picture, options: Options) -> Measured:
    """Return an estimate of how large a picture will be."""
    around = dict(_around(drawn.parts, ()))
    nodes = [*drawn.nodes()]
    first = {step.output: node.steps[0].output for node in nodes for step in node.steps}
    tails: dict[int, list[int]] = {}
    for edge in drawn.edges:
        if isinstance(edge.head, int):
            tails.setdefault(first[edge.head], []).append(
                first.get(edge.tail, edge.tail)
            )
    bottoms: dict[int, float] = {p.value: _LINE + _AROUND for p in drawn.inputs}
    rows: dict[int, int] = dict.fromkeys(bottoms, 0)
    widths: dict[int, float] = {}
    for node in nodes:
        key = node.steps[0].output
        lines = _lines(node, drawn, options)
        width = 16 + _CHARACTER * max(map(len, lines)) + _BESIDE
        row, start = 0, 0.0
        for tail in tails.get(key, ()):
            row = max(row, rows.get(tail, 0) + 1)
            borders = _borders(around.get(tail, ()), around[key])
            start = max(start, bottoms.get(tail, 0.0) + _BETWEEN + borders)
        rows[key] = row
        bottoms[key] = start + _LINE * len(lines) + _AROUND
        widths[row] = widths.get(row, 0.0) + width + 8 * len(around[key])
    boxes = max((_title_width(part) for part in drawn.parts), default=0.0)
    height = max(bottoms.values(), default=0.0) + 3 * _LEAVE + _LINE
    return Measured(Size(max([*widths.values(), boxes, 60.0]), height), bottoms)


def _around(
    parts: Iterable[PicturePart], boxes: tuple[int, ...]
) -> Iterable[tuple[int, tuple[int, ...]]]:
    for part in parts:
        if isinstance(part, Box):
            yield from _around(part.parts, (*boxes, id(part)))
        else:
            yield from ((step.output, boxes) for step in part.steps)


def _borders(tail: tuple[int, ...], head: tuple[int, ...]) -> float:
    common = sum(a == b for a, b in zip(tail, head, strict=False))
    return _ENTER * (len(head) - common) + _LEAVE * (len(tail) - common)


def _lines(node: PictureNode | Closed, drawn: Picture, options: Options) -> list[str]:
    if isinstance(node, Closed):
        return [*closed_lines(node, drawn, options)]
    return [*node_lines(node, drawn, options)]


def _title_width(part: PicturePart) -> float:
    """Return the width of the widest title in a box."""
    if not isinstance(part, Box):
        return 0.0
    inner = max((_title_width(child) for child in part.parts), default=0.0)
    return 16 + max(inner, _CHARACTER * len(fitting_heading(part.heading)))
