"""Puts the pieces of a sheet on one page.

dot does not lay out columns well inside one graph. So it lays out each column and inset
separately; then all are moved to their places, and drawn as one graph with fixed
positions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence, Set
from itertools import count, pairwise, product
from typing import TYPE_CHECKING, NamedTuple

from .choose import COLUMNS, Sheet
from .columns import cut
from .dot import Writer, new_graph
from .labels import escaped
from .layout import run
from .measure import Size
from .options import Direction, Options
from .order import Order, Pull, Row, reads
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
# In the dot text that is laid out: a node, an arrow, and on which side titles stand.
_NODE = re.compile(r"^\t+(n\d+) \[", re.M)
_ARROW = re.compile(r"^\t(n\d+) -> (n\d+) .*\n", re.M)
_SIDE = re.compile(r"^(\t+)(labeljust=l|labelloc=t)$", re.M)
# In what the engine returns: a node with its place, and an arrow that is not drawn.
_PLACED = re.compile(
    r'^\t*(n\d+)\t\s*\[(?:[^\]"]|"(?:[^"\\]|\\.)*")*?\bpos="([^"]*)"', re.M
)
_PULL = re.compile(r'^\t*n\d+ -> n\d+\t\[pos="[^"]*",\s*style=invis,[^\]]*\];\n', re.M)
# Nodes of a picture whose branches are looked after; an engine takes 0.1 s for these.
_MOST = 300
_ROUNDS = 4
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
    places = _positions(whole.text)
    for node in one.main.nodes():
        x, y = places[writer.ids[node.steps[0].output]]
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
    source, joints = str(graph.source), (start, writer.exit)
    plain = _laid_out(source, warnings, joints)
    names = _NODE.findall(source)
    if lowest is not None or len(names) > _MOST:
        return plain
    arrows = {(m[1], m[2]): "lhead=" not in m[0] for m in _ARROW.finditer(source)}
    order = Order(names, arrows, reads(drawn, writer.ids))
    return _ordered(plain, source, order, options.direction)


def _ordered(plain: Piece, source: str, order: Order, direction: Direction) -> Piece:
    """Return a piece whose branches stand in order, as far as that can be had.

    Where they do not, the engine is asked again in other words, each of which helps
    some networks and harms others. The piece with the fewest faults is taken, and of
    several the smallest. From round to round, more pulls at what stands wrong.
    """
    axis, sign = (1, -1) if direction == "LR" else (0, 1)

    def wrong(piece: Piece) -> list[Row]:
        places = _positions(piece.text).items()
        return order.wrong({name: sign * at[axis] for name, at in places})

    def rated(piece: Piece) -> tuple[int, float, Piece]:
        return len(wrong(piece)), area(piece.size), piece

    best = rated(plain)
    for backwards, ordering in product((False, True), repeat=2):
        pulls: dict[Pull, None] = {}
        late: set[str] = set()
        for _ in range(_ROUNDS):
            if not best[0]:
                return best[-1]
            text = _in_other_words(source, [*pulls], late, backwards, ordering)
            found = min(rated(_again(plain, text, side)) for side in (None, axis))
            best = min(best, found)
            faults = wrong(found[-1])
            pulls |= dict.fromkeys(order.pulls(faults))
            late ^= {row[-2] for row in faults}
    return best[-1]


def _again(plain: Piece, text: str, axis: int | None) -> Piece:
    """Return a piece laid out again; its mirror image along an axis, if one is given."""
    if axis is not None:
        text = _SIDE.sub(_other_side, text)
    piece = _laid_out(text, [], plain.joints)
    piece = piece._replace(text=_PULL.sub("", piece.text))
    return piece if axis is None else _mirrored(piece, axis)


def _in_other_words(
    source: str, pulls: Sequence[Pull], late: Set[str], backwards: bool, ordering: bool
) -> str:
    """Return dot text of the same graph that an engine may lay out in another way.

    Args:
        source: the text.
        pulls: arrows to add without drawing them.
        late: nodes whose arrows are written behind all others.
        backwards: whether arrows are written from the last to the first.
        ordering: whether the engine is asked to keep the order of arrows.
    """
    arrows = [*_ARROW.finditer(source)]
    written = sorted(arrows[::-1] if backwards else arrows, key=lambda m: m[2] in late)
    lines = [match[0] for match in written]
    lines += [f"\t{tail} -> {head} [style=invis weight=0]\n" for tail, head in pulls]
    if ordering:
        lines.insert(0, "\tordering=out\n")
    return "".join((source[: arrows[0].start()], *lines, source[arrows[-1].end() :]))


def _other_side(line: re.Match[str]) -> str:
    """Return the line that puts a box's title where its mirror image has it right."""
    return f"{line[1]}{'labeljust=r' if line[2] == 'labeljust=l' else 'labelloc=b'}"


def _mirrored(piece: Piece, axis: int) -> Piece:
    """Return a piece with left and right exchanged, or top and bottom."""
    length = piece.size[axis]

    def flip(match: re.Match[str]) -> str:
        name, value = match[1], match[2]
        if name not in _MOVED:
            return match[0]
        turned = _each_number(
            value.strip('"'), lambda at, place: length - at if place == axis else at
        )
        if name == "bb":
            # The corners' order is that of their size.
            x, y, x2, y2 = turned.split(",")
            corners = (x2, y, x, y2) if axis == 0 else (x, y2, x2, y)
            turned = ",".join(corners)
        return f'{name}="{turned}"'

    return piece._replace(text=_ATTRIBUTE.sub(flip, piece.text))


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
        moved = _each_number(value.strip('"'), lambda at, axis: at + shift[axis])
        return f'{name}="{moved}"'

    return _ATTRIBUTE.sub(move, text)


def _each_number(value: str, change: Callable[[float, int], float]) -> str:
    """Return points with changed numbers.

    Args:
        value: of the attribute.
        change: given a number, and whether it counts from the left (0) or bottom (1).
    """
    axis = count()
    # The prefixes `e,` and `s,` of the ends of an arrow are not numbers.
    return _NUMBER.sub(
        lambda match: f"{change(float(match[0]), next(axis) % 2):g}", value
    )


def _position(text: str, name: str, shift: Point) -> Point:
    """Return where the middle of a node is."""
    x, y = _positions(text).get(name, (0.0, 0.0))
    return (x + shift[0], y + shift[1])


def _positions(text: str) -> dict[str, Point]:
    """Return where the middle of each node is."""
    found: dict[str, Point] = {}
    for node in _PLACED.finditer(text):
        x, y = map(float, node[2].split(","))
        found[node[1]] = (x, y)
    return found


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
