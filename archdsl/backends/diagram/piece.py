"""Pieces of a page: graphs that an engine has laid out, looked at, moved and turned."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import NamedTuple

from .layout import run
from .measure import Size

Point = tuple[float, float]
# Left, bottom, right and top.
Frame = tuple[float, float, float, float]

# An attribute of a laid-out graph; a quoted value is one token.
_ATTRIBUTE = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|[^\s,\]]+)', re.S)
_NUMBER = re.compile(r"-?\d+\.?\d*(?:e[+-]?\d+)?")
# All attributes of a node, an edge or a graph.
_ATTRIBUTES = re.compile(r'\[(?:[^\]"]|"(?:[^"\\]|\\.)*")*\]', re.S)
# Attributes before one of them.
_BEFORE = r'(?:[^\]"]|"(?:[^"\\]|\\.)*")*?\b'
_NODE = re.compile(rf'^\t*(n\d+)\t\s*\[{_BEFORE}pos="([^"]*)"', re.M)
_ARROW = re.compile(rf'^\t*n\d+ -> n\d+\t\s*\[{_BEFORE}pos="([^"]*)"', re.M)
_TITLE = re.compile(
    rf'^\t*graph \[{_BEFORE}lheight=([\d.]+),\s*lp="([^"]*)",\s*lwidth=([\d.]+)', re.M
)
# What the outer of two borders adds to a node's width and height, in inches.
_RING = 8 / 72
_MOVED = frozenset({"pos", "bb", "lp", "xlp"})
# Points that are looked at on each curve of an arrow.
_SAMPLES = 24


class Piece(NamedTuple):
    """A graph that is laid out.

    Attributes:
        text: as dot text.
        size: of it.
        joints: ids of where it goes on from another piece, and in another one.
    """

    text: str
    size: Size
    joints: tuple[str, str] = ("", "")


def laid_out(
    source: str, warnings: list[str], joints: tuple[str, str] = ("", "")
) -> Piece:
    """Return dot text laid out.

    Args:
        source: the text.
        warnings: to which those of the engine are added.
        joints: ids of where it goes on from another piece, and in another one.

    Raises:
        MissingExtra: if there is no layout engine.
    """
    data, said = run(source, "dot")
    warnings += said
    text = _ATTRIBUTES.sub(_inside, data.decode().replace("\\\n", ""))
    box = re.search(r'\bbb="([^"]*)"', text)
    _, _, width, height = map(float, (box[1] if box else "0,0,0,0").split(","))
    return Piece(text, Size(width, height), joints)


def _inside(node: re.Match[str]) -> str:
    """Return a node with the sizes inside its outer border, which nop2 adds again."""
    found = _ATTRIBUTE.finditer(node[0])
    if not any(match[1] == "peripheries" and match[2] == "2" for match in found):
        return node[0]

    def shrunk(match: re.Match[str]) -> str:
        if match[1] not in ("width", "height"):
            return match[0]
        return f"{match[1]}={float(match[2]) - _RING:.5g}"

    return _ATTRIBUTE.sub(shrunk, node[0])


# ---- moving what is laid out


def moved(text: str, shift: Point) -> str:
    """Return a laid-out graph in another place."""
    return _changed(text, lambda at, axis: at + shift[axis])


def mirrored(piece: Piece, axis: int) -> Piece:
    """Return a piece with left and right exchanged, or bottom and top for axis 1."""
    length = piece.size[axis]
    text = _changed(piece.text, lambda at, other: length - at if other == axis else at)
    return piece._replace(text=text)


def _changed(text: str, change: Callable[[float, int], float]) -> str:
    """Return a graph with changed coordinates.

    Args:
        text: of the graph.
        change: given a number, and whether it counts from the left (0) or bottom (1).
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
            x, y, x2, y2 = map(float, found.split(","))
            corners = (min(x, x2), min(y, y2), max(x, x2), max(y, y2))
            found = ",".join(f"{corner:g}" for corner in corners)
        return f'{name}="{found}"'

    return _ATTRIBUTE.sub(changed, text)


# ---- looking at what is laid out


def positions(text: str) -> dict[str, Point]:
    """Return where the middle of each node is."""
    return {node[1]: _point(node[2]) for node in _NODE.finditer(text)}


def struck(text: str) -> int:
    """Return how many titles of boxes are crossed by arrows."""
    frames = [*_frames(text)]
    crossed: set[int] = set()
    for arrow in _ARROW.finditer(text) if frames else ():
        spline = [_point(p) for p in arrow[1].split() if p[0] not in "es"]
        for start in range(0, len(spline) - 3, 3):
            curve = spline[start : start + 4]
            crossed |= {at for at in range(len(frames)) if _crosses(curve, frames[at])}
    return len(crossed)


def _frames(text: str) -> Iterator[Frame]:
    for title in _TITLE.finditer(text):
        x, y = _point(title[2])
        high, wide = (72 * float(title[at]) / 2 for at in (1, 3))
        yield (x - wide, y - high, x + wide, y + high)


def _crosses(curve: Sequence[Point], frame: Frame) -> bool:
    left, low, right, high = frame
    xs, ys = zip(*curve, strict=True)
    # A curve stays within its four points.
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


def _point(text: str) -> Point:
    x, y = text.split(",")
    return (float(x), float(y))
