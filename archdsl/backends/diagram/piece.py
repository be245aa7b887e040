"""Pieces of a page: graphs that an engine has laid out; inspects and moves them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import NamedTuple

from .layout import run_engine
from .measure import Size

Position = tuple[float, float]
# Left, bottom, right and top.
Bounds = tuple[float, float, float, float]

# An attribute of a laid-out graph; a quoted value is one token.
_ATTRIBUTE = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|[^\s,\]]+)', re.S)
_NUMBER = re.compile(r"-?\d+\.?\d*(?:e[+-]?\d+)?")
# All attributes of a node, an edge or a graph.
_ATTRIBUTES = re.compile(r'\[(?:[^\]"]|"(?:[^"\\]|\\.)*")*\]', re.S)
# Attributes that precede another attribute of an arrow.
_BEFORE = r'(?:[^\]"]|"(?:[^"\\]|\\.)*")*?\b'
_NODE = re.compile(rf'^\t*(n\d+)\t\s*\[{_BEFORE}pos="([^"]*)"', re.M)
_ARROW = re.compile(rf'^(\t*n\d+ -> n\d+\t\s*\[{_BEFORE}pos=)"([^"]*)"', re.M)
_BOX = re.compile(rf'^\t\t+graph \[{_BEFORE}bb="([^"]*)"', re.M)
_TITLE = re.compile(
    rf'^(\t*graph \[bb="([^"]*)",{_BEFORE}lheight=([\d.]+),\s*lp=)"([^"]*)"'
    r"(?=,\s*lwidth=([\d.]+))",
    re.M,
)
# How much the outer of two borders adds to a node's width and height, in inches.
_RING = 8 / 72
_MOVED = frozenset({"pos", "bb", "lp", "xlp"})
# The distance from the border of a box at which an arrow turns back, and how far a
# nearly straight arrow may extend past its ends.
_INNER = 3.0
_STRAIGHT = 8.0
# The number of points that are tested on each curve of an arrow.
_SAMPLES = 24


class Piece(NamedTuple):
    """A graph that is laid out.

    Attributes:
        text: its dot text.
        size: its size.
        joints: ids of the nodes where it continues from another piece, and into another
            one.
    """

    text: str
    size: Size
    joints: tuple[str, str] = ("", "")


def laid_out(
    source: str, warnings: list[str], joints: tuple[str, str] = ("", "")
) -> Piece:
    """Return a piece of dot text that is laid out.

    Args:
        source: the text.
        warnings: a list to which the engine's warnings are added.
        joints: ids of the nodes where it continues from another piece, and into another
            one.

    Raises:
        MissingExtra: if there is no layout engine.
    """
    data, said = run_engine(source, "dot")
    warnings += said
    text = _ATTRIBUTES.sub(_inside, data.decode().replace("\\\n", ""))
    frames = [_frame(box[1]) for box in _BOX.finditer(text)]
    text = _ARROW.sub(lambda arrow: f'{arrow[1]}"{_kept(arrow[2], frames)}"', text)
    box = re.search(r'\bbb="([^"]*)"', text)
    _, _, width, height = map(float, (box[1] if box else "0,0,0,0").split(","))
    return Piece(text, Size(width, height), joints)


def _inside(node: re.Match[str]) -> str:
    """Return a node without the size of its outer border, which nop2 adds again."""
    found = _ATTRIBUTE.finditer(node[0])
    if not any(match[1] == "peripheries" and match[2] == "2" for match in found):
        return node[0]

    def shrunk(match: re.Match[str]) -> str:
        if match[1] not in ("width", "height"):
            return match[0]
        return f"{match[1]}={float(match[2]) - _RING:.5g}"

    return _ATTRIBUTE.sub(shrunk, node[0])


def _kept(spline: str, frames: Sequence[Bounds]) -> str:
    """Return an arrow that stays in the innermost box that contains both its ends."""
    if not spline.startswith("e,"):
        return spline  # it has no tip, or points upwards
    words = spline.removeprefix("e,").split()
    xs, ys = zip(*map(_point, words), strict=True)
    (left, right), (low, high) = (sorted(at[:2]) for at in (xs, ys))
    if (
        min(xs) > left - _STRAIGHT
        and max(xs) < right + _STRAIGHT
        and min(ys) > low - _STRAIGHT
        and max(ys) < high + _STRAIGHT
    ):
        return spline
    around = [
        frame
        for frame in frames
        if frame[0] < left and frame[1] < low and frame[2] > right and frame[3] > high
    ]
    if not around:
        return spline
    a, b, c, d = min(around, key=lambda frame: frame[2] - frame[0])
    kept = [
        f"{_between(a, x, c):g},{_between(b, y, d):g}"
        for x, y in map(_point, words[1:])
    ]
    return f"e,{' '.join((words[0], *kept))}"


def _between(low: float, at: float, high: float) -> float:
    return min(max(at, low + _INNER), high - _INNER)


def _frame(text: str) -> Bounds:
    left, low, right, high = map(float, text.split(","))
    return (left, low, right, high)


# ---- moving a piece


def moved(text: str, shift: Position) -> str:
    """Return a laid-out graph, moved."""
    return _changed(text, lambda at, axis: at + shift[axis])


def mirrored(piece: Piece, axis: int) -> Piece:
    """Return a piece with left and right exchanged, or bottom and top for axis 1."""
    length = piece.size[axis]
    text = _changed(piece.text, lambda at, other: length - at if other == axis else at)
    return piece._replace(text=text)


def _changed(text: str, change: Callable[[float, int], float]) -> str:
    """Return a graph with changed coordinates.

    Args:
        text: the text of the graph.
        change: a function of a coordinate and its axis: from the left (0) or bottom
            (1).
    """

    def changed(match: re.Match[str]) -> str:
        name, value = match[1], match[2]
        if name not in _MOVED:
            return match[0]
        axes = count()
        # The prefixes `e,` and `s,` of the ends of an arrow are not numbers.
        found = _NUMBER.sub(
            lambda number: f"{change(float(number[0]), next(axes) % 2):g}",
            value.strip('"'),
        )
        if name == "bb":
            x, y, x2, y2 = _frame(found)
            corners = (min(x, x2), min(y, y2), max(x, x2), max(y, y2))
            found = ",".join(f"{corner:g}" for corner in corners)
        return f'{name}="{found}"'

    return _ATTRIBUTE.sub(changed, text)


# ---- inspecting a piece


def node_centres(text: str) -> dict[str, Position]:
    """Return the centre of each node."""
    return {node[1]: _point(node[2]) for node in _NODE.finditer(text)}


def struck(text: str) -> int:
    """Return the number of box titles that arrows cross."""
    curves = [*_all_curves(text)]
    return sum(
        any(_crosses(curve, _frame_of(title, 0)) for curve in curves)
        for title in _TITLE.finditer(text)
    )


def dodged(text: str) -> str:
    """Return a graph with titles at the right if they are only crossed at the left."""
    curves = [*_all_curves(text)]

    def dodge(title: re.Match[str]) -> str:
        left, right = (
            any(_crosses(curve, _frame_of(title, side)) for curve in curves)
            for side in (0, 1)
        )
        if not left or right:
            return title[0]
        x, y = _middle(title, 1)
        return f'{title[1]}"{x:g},{y:g}"'

    return _TITLE.sub(dodge, text)


def _frame_of(title: re.Match[str], side: int) -> Bounds:
    """Return the frame of a title in its place (0), or on the other side (1)."""
    x, y = _middle(title, side)
    high, wide = (72 * float(title[at]) / 2 for at in (3, 5))
    return (x - wide, y - high, x + wide, y + high)


def _middle(title: re.Match[str], side: int) -> Position:
    x, y = _point(title[4])
    left, _, right, _ = _frame(title[2])
    return (left + right - x if side else x, y)


def _all_curves(text: str) -> Iterator[list[Position]]:
    for arrow in _ARROW.finditer(text):
        yield from _curves(arrow[2])


def _curves(spline: str) -> Iterator[list[Position]]:
    """Yield the four points of each part of an arrow."""
    points = [_point(point) for point in spline.split() if point[0] not in "es"]
    for start in range(0, len(points) - 3, 3):
        yield points[start : start + 4]


def _crosses(curve: Sequence[Position], frame: Bounds) -> bool:
    left, low, right, high = frame
    xs, ys = zip(*curve, strict=True)
    # A Bezier curve stays within the hull of its four points.
    if max(xs) < left or min(xs) > right or max(ys) < low or min(ys) > high:
        return False
    for step in range(_SAMPLES + 1):
        t = step / _SAMPLES
        weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
        x = sum(w * at for w, at in zip(weights, xs, strict=True))
        y = sum(w * at for w, at in zip(weights, ys, strict=True))
        if left < x < right and low < y < high:
            return True
    return False


def _point(text: str) -> Position:
    x, y = text.split(",")
    return (float(x), float(y))
