"""Names next to points, placed so that they overlap neither each other nor points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import cos, pi, sin
from typing import Any, Final, NamedTuple

# Distances of a label from its point, in the order in which they are tried.
_DISTANCES: Final = (5, 9, 14, 20, 28, 38, 50, 65, 85, 110, 140, 180, 240, 320)
_DIRECTIONS: Final = 16
_GAP: Final = 1.5
_MARKER: Final = 4.0
# A label farther away than this is connected to its point by a line.
_NEAR: Final = 9


class Rectangle(NamedTuple):
    """A rectangle, in pixels.

    Attributes:
        left: its left edge.
        low: its lower edge.
        right: its right edge.
        high: its upper edge.
    """

    left: float
    low: float
    right: float
    high: float

    def meets(self, other: Rectangle) -> bool:
        """Return whether it overlaps or touches another."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.low < other.high
            and other.low < self.high
        )

    def within(self, other: Rectangle) -> bool:
        """Return whether it lies inside another."""
        return (
            self.left >= other.left
            and self.low >= other.low
            and self.right <= other.right
            and self.high <= other.high
        )


Segment = tuple[float, float, float, float]


def crosses(line: Segment, box: Rectangle) -> bool:
    """Return whether a line from x, y to x, y meets a box (Liang & Barsky 1984)."""
    x, y, to_x, to_y = line
    first, last = 0.0, 1.0
    for start, way, low, high in (
        (x, to_x - x, box.left, box.right),
        (y, to_y - y, box.low, box.high),
    ):
        if not way:
            if not low < start < high:
                return False
            continue
        ends = sorted(((low - start) / way, (high - start) / way))
        first, last = max(first, ends[0]), min(last, ends[1])
    return first < last


def place_names(
    axes: Any,
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    curves: Sequence[Sequence[tuple[float, float]]] = (),
    others: Sequence[tuple[float, float]] = (),
) -> None:
    """Write names beside points of some axes, whose limits must be final.

    Each name goes to the nearest place where it covers no other name, point or curve.
    The layout of the figure is computed first, and names do not change it.

    Args:
        axes: the axes in which the points are drawn.
        points: coordinates in the units of the axes.
        names: one name for each point.
        curves: lines of the chart, each a sequence of corners.
        others: further points, without names.
    """
    figure = axes.figure
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    pixel = figure.dpi / 72
    whole = Rectangle(*axes.get_window_extent().extents)
    spots = _pixels(axes, points)
    marks = [*spots, *_pixels(axes, others)]
    taken = [_around(x, y, _MARKER * pixel) for x, y in marks]
    lines: list[Segment] = [
        (*start, *end)
        for curve in curves
        for start, end in pairwise(_pixels(axes, curve))
    ]
    for (x, y), point, name in zip(spots, points, names, strict=True):
        text = axes.text(0, 0, name, fontsize=7)
        extent = text.get_window_extent()
        text.remove()
        size = extent.width + 2 * _GAP * pixel, extent.height + 2 * _GAP * pixel
        box, line = _free(x, y, size, pixel, whole, taken, lines)
        taken.append(box)
        is_far = not _is_near(line, pixel)
        if is_far:
            lines.append(line)
        _write(axes, name, point, (x, y), box, pixel, is_far)


def _pixels(
    axes: Any, points: Sequence[tuple[float, float]]
) -> list[tuple[float, float]]:
    found = axes.transData.transform(points) if points else ()
    return [(float(x), float(y)) for x, y in found]


def _write(
    axes: Any,
    name: str,
    point: tuple[float, float],
    spot: tuple[float, float],
    box: Rectangle,
    pixel: float,
    is_far: bool,
) -> None:
    arrow = {"arrowstyle": "-", "color": "0.6", "linewidth": 0.5, "shrinkA": 0}
    middle = (box.left + box.right) / 2 - spot[0], (box.low + box.high) / 2 - spot[1]
    note = axes.annotate(
        name,
        point,
        xytext=(middle[0] / pixel, middle[1] / pixel),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=7,
        arrowprops=arrow if is_far else None,
    )
    note.set_in_layout(False)


def _around(x: float, y: float, radius: float) -> Rectangle:
    return Rectangle(x - radius, y - radius, x + radius, y + radius)


def _free(
    x: float,
    y: float,
    size: tuple[float, float],
    pixel: float,
    whole: Rectangle,
    taken: Sequence[Rectangle],
    lines: Sequence[Segment],
) -> tuple[Rectangle, Segment]:
    """Return the nearest free box for a name, and the line that leads there."""
    own = _around(x, y, _MARKER * pixel)
    others = [box for box in taken if box != own]
    candidates = [c for c in _candidates(x, y, size, pixel) if c[0].within(whole)]
    # Weaker requirements are only tried if no place satisfies the stronger ones.
    clear = [c for c in candidates if not any(c[0].meets(box) for box in taken)]
    free = [c for c in clear if not any(crosses(line, c[0]) for line in lines)]
    straight = (
        (box, line)
        for box, line in free
        if _is_near(line, pixel) or not any(crosses(line, other) for other in others)
    )
    found = next(straight, None) or next(iter(free or clear or candidates), None)
    # If there is none, the axes are too small for the name.
    return found or next(_candidates(x, y, size, pixel))


def _is_near(line: Segment, pixel: float) -> bool:
    """Return whether a label is close enough to need no line."""
    return abs(line[2] - line[0]) + abs(line[3] - line[1]) <= _NEAR * pixel


def _candidates(
    x: float, y: float, size: tuple[float, float], pixel: float
) -> Iterator[tuple[Rectangle, Segment]]:
    """Yield boxes around a point, from the nearest to the farthest."""
    width, height = size
    for distance in _DISTANCES:
        for step in range(_DIRECTIONS):
            # To the right first, then alternately above and below.
            turn = (step + 1) // 2 * (1 if step % 2 else -1)
            angle = 2 * pi * turn / _DIRECTIONS
            across, up = cos(angle), sin(angle)
            at_x = x + across * distance * pixel
            at_y = y + up * distance * pixel
            left = at_x + (across - 1) / 2 * width
            low = at_y + (up - 1) / 2 * height
            yield Rectangle(left, low, left + width, low + height), (x, y, at_x, at_y)
