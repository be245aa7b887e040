"""Puts the pieces of a sheet on one page.

dot does not lay out columns well inside one graph. So it lays out each column and inset
separately; then all are moved to their places, and drawn as one graph with fixed
positions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from .choose import COLUMNS, Sheet
from .columns import cut
from .dot import Writer, new_graph
from .labels import escaped
from .layout import run
from .measure import Size
from .options import Options
from .pack import GAP, HEAD, MARGIN, area, pack, rooms, scale
from .picture import Picture
from .routes import JOINT

if TYPE_CHECKING:
    from graphviz import Digraph

# An attribute of a laid-out graph; a quoted value is one token.
_ATTRIBUTE = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|[^\s,\]]+)', re.S)
_NUMBER = re.compile(r"-?\d+\.?\d*(?:e[+-]?\d+)?")
# All attributes of a node, an edge or a graph.
_ATTRIBUTES = re.compile(r'\[(?:[^\]"]|"(?:[^"\\]|\\.)*")*\]', re.S)
# What the outer of two borders adds to a node's width and height, in inches.
_RING = 8 / 72
_MOVED = frozenset({"pos", "bb", "lp", "xlp"})
Point = tuple[float, float]


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


class Page(NamedTuple):
    """All of a drawing, laid out.

    Attributes:
        source: dot text with positions, for the engine `nop2`.
        size: in points.
        paths: what nodes stand for, by their ids.
        warnings: what the engine said.
    """

    source: str
    size: Size
    paths: dict[str, str]
    warnings: tuple[str, ...]


def page(lines: Sequence[str], one: Sheet, options: Options, writer: Writer) -> Page:
    """Lay a sheet out.

    Raises:
        MissingExtra: if there is no layout engine.
    """
    warnings: list[str] = []
    ways = _ways(one, options, writer, warnings)
    beside = [_piece(inset, options, writer, warnings) for inset in one.insets]
    if options.legend:
        beside.insert(0, _legend(one, options, writer, warnings))
    columns, places, size = _best(ways, beside, options)
    kinds = places[len(columns) + options.legend :]
    pairs = zip(one.ways, kinds, strict=True)
    left_out = [way for way, place in pairs if place is None]
    put = [
        (piece, place)
        for piece, place in zip([*columns, *beside], places, strict=True)
        if place is not None
    ]
    # dot counts from the bottom.
    corners = [(x, size.height - y - piece.size.height) for piece, (x, y) in put]
    graph = new_graph(options)
    graph.attr(
        bb=f"0,0,{size.width:g},{size.height:g}", pad="0.2", dpi=f"{options.dpi}"
    )
    for number, ((piece, _), corner) in enumerate(zip(put, corners, strict=True)):
        text = _moved(piece.text, corner)
        graph.body.append(f"subgraph piece_{number} {text[text.index('{') :]}")
    graph.attr("edge", color=writer.palette.strong, penwidth="1.3")
    for at, (tail, head) in enumerate(pairwise(columns)):
        ends = (tail.joints[1], head.joints[0])
        spots = [
            _position(piece.text, name, corner)
            for piece, name, corner in zip(
                (tail, head), ends, corners[at : at + 2], strict=True
            )
        ]
        _joint(graph, ends, _route(spots, (tail, head), corners[at:], options))
    more = f" and {len(left_out) - 2} more" if len(left_out) > 2 else ""
    note = f"not drawn beside: {', '.join(left_out[:2])}{more}" if left_out else ""
    words(graph, lines, note, size)
    return Page(str(graph.source), size, writer.paths, tuple(warnings))


def _ways(
    one: Sheet, options: Options, writer: Writer, warnings: list[str]
) -> list[list[Piece]]:
    """Lay the whole out in one column, and in more where these could fit."""
    whole = _piece(one.main, options, writer, warnings, one.lowest)
    if one.lowest is not None:
        return [[whole]]
    bottoms = {}
    for node in one.main.nodes():
        x, y = _position(whole.text, writer.ids[node.steps[0].output], (0, 0))
        down = x if options.direction == "LR" else whole.size.height - y
        bottoms[node.steps[0].output] = down
    length = whole.size[options.direction == "TB"]
    longest = max(room[options.direction == "TB"] for room in rooms(options))
    ways = [[whole]]
    for number in range(2, COLUMNS + 1):
        cuts = cut(one.main, bottoms, number)
        if len(cuts) == number and length < 2 * number * longest:
            # Only one of the variants is drawn, so all can use the same ids.
            writer.taken.clear()
            ways.append([_piece(part, options, writer, warnings) for part, _ in cuts])
    return ways


def _best(
    ways: Sequence[list[Piece]], beside: Sequence[Piece], options: Options
) -> tuple[list[Piece], list[Point | None], Size]:
    """Return columns and places with which most insets fit, and text is largest."""
    rest = [piece.size for piece in beside]
    found = [
        (columns, *pack([piece.size for piece in columns], rest, options))
        for columns in ways
    ]
    return max(found, key=lambda it: _worth(it[1], it[0], rest, it[2], options))


def _worth(
    places: Sequence[Point | None],
    columns: Sequence[Piece],
    rest: Sequence[Size],
    size: Size,
    options: Options,
) -> tuple[float, ...]:
    """Return what to choose by; more columns must give clearly larger text."""
    found = scale(size, options)
    put = zip(rest, places[len(columns) :], strict=True)
    shown = sum(area(size) for size, place in put if place is not None)
    return (min(found, 1), shown, min(found, 1.6) - 0.1 * len(columns))


def _piece(
    drawn: Picture,
    options: Options,
    writer: Writer,
    warnings: list[str],
    lowest: int | None = None,
) -> Piece:
    graph = new_graph(options)
    writer.write(graph, drawn, lowest)
    start = next((writer.ids[p.value] for p in drawn.inputs if p.name == JOINT), "")
    return _laid_out(graph.source, warnings, (start, writer.exit))


def _legend(one: Sheet, options: Options, writer: Writer, warnings: list[str]) -> Piece:
    graph = new_graph(options._replace(direction="TB"))
    writer.legend(graph, [one.main, *one.insets])
    return _laid_out(graph.source, warnings, ("", ""))


def _laid_out(source: str, warnings: list[str], joints: tuple[str, str]) -> Piece:
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


def _moved(text: str, shift: Point) -> str:
    def move(match: re.Match[str]) -> str:
        name, value = match[1], match[2]
        if name not in _MOVED:
            return match[0]
        return f'{name}="{_shifted(value.strip(chr(34)), shift)}"'

    return _ATTRIBUTE.sub(move, text)


def _shifted(value: str, shift: Point) -> str:
    axis = 0

    def add(match: re.Match[str]) -> str:
        nonlocal axis
        axis += 1
        return f"{float(match[0]) + shift[(axis - 1) % 2]:g}"

    # The prefixes `e,` and `s,` of the ends of an arrow are not numbers.
    return _NUMBER.sub(add, value)


def _position(text: str, name: str, shift: Point) -> Point:
    """Return where the middle of a node is."""
    found = re.search(rf"^\t*{name}\t\s*\[", text, re.M) if name else None
    if found is None:
        return (0.0, 0.0)
    for match in _ATTRIBUTE.finditer(text, found.end()):
        if match[1] == "pos":
            x, y = map(float, match[2].strip('"').split(","))
            return (x + shift[0], y + shift[1])
    return (0.0, 0.0)


# ---- between columns


def _route(
    ends: Sequence[Point],
    pieces: Sequence[Piece],
    corners: Sequence[Point],
    options: Options,
) -> list[Point]:
    """Return the corners of the arrow from one column, or row, to the next."""
    (start, end), (size, size2) = ends, (piece.size for piece in pieces)
    (x, y), (x2, y2), *_ = corners
    near = GAP / 3
    if options.direction == "LR":
        right, left, middle = x + size.width + near, x2 - near, y - GAP / 2
        turns = [(right, start[1]), (right, middle), (left, middle), (left, end[1])]
    else:
        below, above = y - near, y2 + size2.height + near
        middle = x + size.width + GAP / 2
        turns = [(start[0], below), (middle, below), (middle, above), (end[0], above)]
    return [start, *turns, end]


def _joint(graph: Digraph, ends: tuple[str, str], route: Sequence[Point]) -> None:
    """Draw an arrow with corners: each straight line as a curve that is none."""
    # The line ends before the tip, which has no direction otherwise.
    (x, y), tip = route[-2], route[-1]
    far = max(abs(x - tip[0]) + abs(y - tip[1]), 1)
    short = (tip[0] + (x - tip[0]) * 6 / far, tip[1] + (y - tip[1]) * 6 / far)
    points = [_show(route[0])]
    for start, end in pairwise([*route[:-1], short]):
        points += [_show(start), _show(end), _show(end)]
    graph.edge(*ends, pos=f"e,{_show(tip)} {' '.join(points)}")


def _show(point: Point) -> str:
    return f"{point[0]:.2f},{point[1]:.2f}"


def words(graph: Digraph, lines: Sequence[str], note: str, size: Size) -> None:
    """Write the title above all, and a note below."""
    middle = size.width / 2
    top = size.height - HEAD / 2 + 8
    look = {"shape": "plaintext", "height": "0.3"}
    if lines:
        graph.node(
            "title", escaped(lines), pos=f"{middle:g},{top:g}", fontsize="18", **look
        )
    if note:
        graph.node("rest", escaped([note]), pos=f"{middle:g},{MARGIN / 2:g}", **look)
