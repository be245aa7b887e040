"""Puts the pieces of a sheet on one page.

dot does not lay out columns well inside one graph. So it lays out each column and inset
separately; then all are moved to their places, and drawn as one graph with fixed
positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from .choose import Sheet, most
from .columns import cut
from .dot import DotWriter, new_graph
from .labels import escaped
from .measure import Size
from .options import Options
from .pack import GAP, HEAD, MARGIN, pack, page_area, rooms, scale
from .picture import Picture
from .piece import Piece, Position, laid_out, moved, node_centres
from .routes import JOINT
from .tidy import tidied

if TYPE_CHECKING:
    from graphviz import Digraph


class Page(NamedTuple):
    """A whole drawing, laid out.

    Attributes:
        source: dot text with positions, for the engine `nop2`.
        size: its size in points.
        paths: the paths that nodes represent, by their ids.
        warnings: the engine's warnings.
    """

    source: str
    size: Size
    paths: dict[str, str]
    warnings: tuple[str, ...]


def lay_out_sheet(
    lines: Sequence[str], one: Sheet, options: Options, writer: DotWriter
) -> Page:
    """Lay out the contents of a page.

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
        text = moved(piece.text, corner)
        graph.body.append(f"subgraph piece_{number} {text[text.index('{') :]}")
    graph.attr("edge", color=writer.palette.strong, penwidth="1.3")
    for at, (tail, head) in enumerate(pairwise(columns)):
        ends = (tail.joints[1], head.joints[0])
        spots = [
            _spot(piece, name, corner)
            for piece, name, corner in zip(
                (tail, head), ends, corners[at : at + 2], strict=True
            )
        ]
        _joint(graph, ends, _route(spots, (tail, head), corners[at:], options))
    more = f" and {len(left_out) - 2} more" if len(left_out) > 2 else ""
    note = f"not drawn beside: {', '.join(left_out[:2])}{more}" if left_out else ""
    write_words(graph, lines, note, size)
    return Page(str(graph.source), size, writer.paths, tuple(warnings))


def _ways(
    one: Sheet, options: Options, writer: DotWriter, warnings: list[str]
) -> list[list[Piece]]:
    """Lay out the whole picture in one column, and in more if these could fit."""
    whole = _piece(one.main, options, writer, warnings, one.lowest)
    if one.lowest is not None:
        return [[whole]]
    bottoms = {}
    places = node_centres(whole.text)
    for node in one.main.nodes():
        x, y = places[writer.ids[node.steps[0].output]]
        down = x if options.direction == "LR" else whole.size.height - y
        bottoms[node.steps[0].output] = down
    length = whole.size[options.direction == "TB"]
    longest = max(room[options.direction == "TB"] for room in rooms(options))
    ways = [[whole]]
    for number in range(2, most(options) + 1):
        cuts = cut(one.main, bottoms, number)
        if len(cuts) == number and length < 2 * number * longest:
            # Only one of the variants is drawn, so all can use the same ids.
            writer.taken.clear()
            ways.append([_piece(part, options, writer, warnings) for part, _ in cuts])
    return ways


def _best(
    ways: Sequence[list[Piece]], beside: Sequence[Piece], options: Options
) -> tuple[list[Piece], list[Position | None], Size]:
    """Return the columns and places with which most insets fit and text is largest."""
    rest = [piece.size for piece in beside]
    found = [
        (columns, *pack([piece.size for piece in columns], rest, options))
        for columns in ways
    ]
    return max(found, key=lambda it: _worth(it[1], it[0], rest, it[2], options))


def _worth(
    places: Sequence[Position | None],
    columns: Sequence[Piece],
    rest: Sequence[Size],
    size: Size,
    options: Options,
) -> tuple[float, ...]:
    """Return a key to choose by: more columns must make text clearly larger."""
    found = scale(size, options)
    put = zip(rest, places[len(columns) :], strict=True)
    shown = sum(page_area(size) for size, place in put if place is not None)
    return (min(found, 1), shown, min(found, 1.6) - 0.1 * len(columns))


def _piece(
    drawn: Picture,
    options: Options,
    writer: DotWriter,
    warnings: list[str],
    lowest: int | None = None,
) -> Piece:
    graph = new_graph(options)
    writer.write(graph, drawn, lowest)
    start = next((writer.ids[p.value] for p in drawn.inputs if p.name == JOINT), "")
    source = str(graph.source)
    piece = laid_out(source, warnings, (start, writer.exit))
    if lowest is not None:
        return piece
    return tidied(piece, source, drawn, writer.ids, options.direction)


def _legend(
    one: Sheet, options: Options, writer: DotWriter, warnings: list[str]
) -> Piece:
    graph = new_graph(options._replace(direction="TB"))
    writer.legend(graph, [one.main, *one.insets])
    return laid_out(str(graph.source), warnings)


# ---- between columns


def _spot(piece: Piece, name: str, corner: Position) -> Position:
    """Return the position of a piece's node on the page."""
    x, y = node_centres(piece.text).get(name, (0.0, 0.0))
    return (x + corner[0], y + corner[1])


def _route(
    ends: Sequence[Position],
    pieces: Sequence[Piece],
    corners: Sequence[Position],
    options: Options,
) -> list[Position]:
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


def _joint(graph: Digraph, ends: tuple[str, str], route: Sequence[Position]) -> None:
    """Draw an arrow with corners: its curves have all their points on a line."""
    # The line ends before the tip, which would have no direction otherwise.
    (x, y), tip = route[-2], route[-1]
    far = max(abs(x - tip[0]) + abs(y - tip[1]), 1)
    short = (tip[0] + (x - tip[0]) * 6 / far, tip[1] + (y - tip[1]) * 6 / far)
    points = [_show(route[0])]
    for start, end in pairwise([*route[:-1], short]):
        points += [_show(start), _show(end), _show(end)]
    graph.edge(*ends, pos=f"e,{_show(tip)} {' '.join(points)}")


def _show(point: Position) -> str:
    return f"{point[0]:.2f},{point[1]:.2f}"


def write_words(graph: Digraph, lines: Sequence[str], note: str, size: Size) -> None:
    """Write the title above everything, and a note below."""
    middle = size.width / 2
    top = size.height - HEAD / 2 + 8
    look = {"shape": "plaintext", "height": "0.3"}
    if lines:
        graph.node(
            "title", escaped(lines), pos=f"{middle:g},{top:g}", fontsize="18", **look
        )
    if note:
        graph.node("rest", escaped([note]), pos=f"{middle:g},{MARGIN / 2:g}", **look)
