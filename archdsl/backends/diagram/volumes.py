"""A chain of layers as boxes, as in the papers on AlexNet and VGG.

The output of a layer is a box: its height and depth are the size of the map, its
thickness is the number of channels. A vector is a bar whose height grows with its size.
All lengths are proportional to the square root, since otherwise 7x7 maps would be
invisible next to those of 224x224.

Positions are computed here, so that they are in the dot text, too. The front of a box
is a node; its top and side are polygons behind all nodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import sqrt
from typing import TYPE_CHECKING, Final, NamedTuple

from archdsl.diagnostics import Diagnostic, SpecError
from archdsl.ir import Network, Step
from archdsl.values import Shape, show_shape

from .dot import DotWriter, new_graph
from .labels import (
    brief,
    escaped,
    heading_of,
    layer_label,
    macs,
    node_tip,
    params,
    short_path,
    tip,
)
from .measure import Size
from .options import Options
from .pack import EDGE, HEAD, MARGIN, scale
from .picture import (
    Box,
    Closed,
    Picture,
    PictureNode,
    PicturePart,
    Subject,
    closed,
    path_of,
    picture,
)
from .place import Page, write_words
from .themes import FAMILIES, layer_family, mix_colours

if TYPE_CHECKING:
    from graphviz import Digraph

# In points: the largest maps and bars, the thickest box, the minimum of each, and the
# width of a bar.
_SIDE: Final = 130.0
_THICK: Final = 34.0
_LEAST: Final = 4.0
_BAR: Final = 9.0
# Offset of a box's back to the right and up, as a share of its depth.
_SLANT: Final = 0.36
# Between boxes of one layer's copies, between layers, and between rows.
_NEAR: Final = 4.0
_GAP: Final = 12.0
_ROWS: Final = 22.0
_LINE: Final = 13.2
# The average width of a character is at most this in all fonts that are used.
_CHARACTER: Final = 6.3
# If there are more copies than this, they are not all drawn.
_COPIES: Final = 4
_NOTE = "lengths are square roots of channels and sizes"


class Volume(NamedTuple):
    """The output of one node.

    Attributes:
        node: the node; None for the input.
        shape: the shape of its output.
        lines: its label.
        copies: the number of boxes.
    """

    node: PictureNode | Closed | None
    shape: Shape
    lines: tuple[str, ...]
    copies: int


class VolumeScale(NamedTuple):
    """The sizes that the largest boxes represent.

    Attributes:
        side: the longest side of all maps.
        channels: the most channels of all maps.
        numbers: the most elements of all vectors.
    """

    side: int
    channels: int
    numbers: int

    def box(self, shape: Shape) -> tuple[float, float, float]:
        """Return a box's thickness, height and depth in points."""
        channels, *sides = map(int, shape)
        if not sides:
            return _BAR, _root(channels, self.numbers, _SIDE), 0.0
        thick = _root(channels, self.channels, _THICK)
        height = _root(sides[-2] if len(sides) > 1 else sides[0], self.side, _SIDE)
        deep = _root(sides[-1], self.side, _SIDE) if len(sides) > 1 else 0.0
        return thick, height, deep

    def width(self, one: Volume) -> float:
        """Return the width of all boxes of a volume."""
        thick, _, deep = self.box(one.shape)
        return one.copies * (thick + _NEAR) - _NEAR + _SLANT * deep


def _root(size: int, most: int, length: float) -> float:
    return max(_LEAST, length * sqrt(size / most))


def volumes(subject: Subject, options: Options, network: Network) -> Picture:
    """Return a subject as a chain, with as many blocks open as possible.

    Raises:
        SpecError: if it is not a chain at any depth, or at the requested one.
    """
    drawn = picture(subject, fold=True)
    depths = (1_000, 3, 2, 1, 0, -1) if options.depth is None else (options.depth,)
    fork = None
    for depth in depths:
        one = closed(drawn, depth)
        fork = _fork(one)
        if fork is None:
            return one
    raise SpecError([_no_chain(network, fork, options)])


def _fork(drawn: Picture) -> PictureNode | Closed | Step | None:
    """Return the first node that does not just read the one before it, if any."""
    around = _repeated(drawn.parts)
    if around is not None:
        return around
    place: dict[int, int] = {port.value: -1 for port in drawn.inputs[:1]}
    nodes = [*_always(drawn)]
    for at, node in enumerate(nodes):
        place.update((step.output, at) for step in node.steps)
    heads = {step.output: at for at, node in enumerate(nodes) for step in node.steps}
    for edge in drawn.edges:
        head = heads.get(edge.head) if isinstance(edge.head, int) else None
        if head is not None and place.get(edge.tail) not in (head, head - 1):
            return nodes[head]
    return None


def _repeated(parts: Sequence[PicturePart]) -> Step | None:
    """Return the first step of an open box that represents several copies, if any."""
    for part in parts:
        if isinstance(part, Box):
            if part.heading.copies > 1:
                return next(part.group.steps())
            found = _repeated(part.parts)
            if found is not None:
                return found
    return None


def _always(drawn: Picture) -> Iterator[PictureNode | Closed]:
    """Yield the nodes that are not only needed in training."""
    for node in drawn.nodes():
        training = node.box.training if isinstance(node, Closed) else node.main.training
        if not training:
            yield node


def _no_chain(
    network: Network, fork: PictureNode | Closed | Step | None, options: Options
) -> Diagnostic:
    step = fork.steps[0] if isinstance(fork, PictureNode | Closed) else fork
    assert step is not None
    depth = "" if options.depth is None else f" at depth {options.depth}"
    return Diagnostic(
        "A0801",
        f"{network.name} is not a chain{depth}, so it cannot be drawn as volumes",
        step.span,
        label=f"`{step.path}` does not just read the layer before it",
        help="leave out `--style volumes`"
        + (
            ", or draw a part by `--only`" if options.depth is None else " or `--depth`"
        ),
    )


def volumes_page(
    lines: Sequence[str], drawn: Picture, options: Options, writer: DotWriter
) -> Page:
    """Place all volumes, in the number of rows that makes the text largest."""
    chain = [*_chain(drawn, options)]
    maps = [one.shape for one in chain if len(one.shape) > 1]
    bars = [one.shape for one in chain if len(one.shape) == 1]
    sizes = VolumeScale(
        side=max((int(side) for shape in maps for side in shape[1:]), default=1),
        channels=max((int(shape[0]) for shape in maps), default=1),
        numbers=max((int(shape[0]) for shape in bars), default=1),
    )
    widths = [max(_text(one.lines), sizes.width(one)) + _GAP for one in chain]
    ways = [_rows(widths, number) for number in range(1, min(len(chain), 12) + 1)]
    heads = [_text(lines) * 1.7, _text([_NOTE]) * 1.7]

    def size_of(rows: Sequence[range]) -> Size:
        wide = max(*(sum(widths[at] for at in row) for row in rows), *heads)
        high = sum(_height([chain[at] for at in row], sizes) for row in rows)
        return Size(wide + 2 * MARGIN, high + HEAD + EDGE + MARGIN)

    rows = max(ways, key=lambda rows: min(scale(size_of(rows), options), 1.6))
    size = size_of(rows)
    graph = new_graph(options)
    box = f"0,0,{size.width:g},{size.height:g}"
    graph.attr(bb=box, pad="0.2", dpi=f"{options.dpi}", layout="nop2")
    _corner(graph, size)
    faces: list[str] = []
    top = size.height - HEAD
    for row in rows:
        own = [chain[at] for at in row]
        top -= _height(own, sizes)
        left = MARGIN
        ground = top + _ROWS + _LINE * max(len(one.lines) for one in own)
        for at in row:
            middle = left + (widths[at] - _GAP) / 2
            spot = (middle - sizes.width(chain[at]) / 2, ground)
            faces += _draw(graph, chain[at], spot, sizes, drawn, writer)
            _label(graph, chain[at], (middle, ground), writer)
            left += widths[at]
    graph.attr(_background=" ".join(faces))
    if options.legend:
        _legend(graph, chain, writer)
    dropped = len([*drawn.nodes()]) - len([*_always(drawn)])
    write_words(graph, lines, _NOTE + "; no parts of training" * bool(dropped), size)
    return Page(str(graph.source), size, writer.paths, ())


def _chain(drawn: Picture, options: Options) -> Iterator[Volume]:
    """Yield the volumes; norms and layers that only reshape their input have none."""
    for port in drawn.inputs[:1]:
        lines = (port.name, *_shape(port.shape, options))
        yield Volume(None, port.shape, lines, 1)
    for node in _always(drawn):
        last = drawn.twins[node.steps[-1].output][-1]
        if isinstance(node, Closed):
            heading = node.heading._replace(copies=1, call="")
            word = node.heading.call.partition("<")[0]
            first = [*filter(None, (heading_of(heading, short_path), word))]
        else:
            if layer_family(node.main.op.family) in ("norm", "reshape"):
                continue
            first = [layer_label(node.main)]
        copies = node.heading.copies
        first[-1] += f"  x{copies}" if copies > 1 else ""
        more = _shape(last.shape, options)
        lines = (*first, *more, *_costs(node, drawn, options))
        yield Volume(node, last.shape, lines, min(copies, _COPIES))


def _shape(shape: Shape, options: Options) -> list[str]:
    return [] if options.detail == "names" else [show_shape(shape)]


def _costs(
    node: PictureNode | Closed, drawn: Picture, options: Options
) -> Iterator[str]:
    if options.detail != "costs":
        return
    twins = [twin for step in node.steps for twin in drawn.twins[step.output]]
    for cost, unit in ((params, "params"), (macs, "MACs")):
        found = sum(map(cost, twins))
        if found:
            yield f"{brief(found)} {unit}"


def _text(lines: Sequence[str]) -> float:
    return _CHARACTER * max((len(line) for line in lines), default=0)


def _rows(widths: Sequence[float], number: int) -> list[range]:
    """Return at most some number of rows, of about equal width."""
    goal = sum(widths) / number
    rows: list[range] = []
    start, wide = 0, 0.0
    for at, width in enumerate(widths):
        if at > start and wide + width / 2 > goal and len(rows) < number - 1:
            rows.append(range(start, at))
            start, wide = at, 0.0
        wide += width
    return [*rows, range(start, len(widths))]


def _height(row: Sequence[Volume], sizes: VolumeScale) -> float:
    boxes = [sizes.box(one.shape) for one in row]
    high = max(height + _SLANT * deep for _, height, deep in boxes)
    return high + _LINE * max(len(one.lines) for one in row) + _ROWS


def _draw(
    graph: Digraph,
    one: Volume,
    spot: tuple[float, float],
    sizes: VolumeScale,
    drawn: Picture,
    writer: DotWriter,
) -> Iterator[str]:
    """Write the fronts of a volume's boxes, and yield their tops and sides."""
    x, y = spot
    thick, height, deep = sizes.box(one.shape)
    palette = writer.palette
    fill, path, said = palette.fills["merge"], "input", [show_shape(one.shape)]
    if one.node is not None:
        fill = writer.node_style(one.node, drawn)["fillcolor"]
        own = one.node.main if isinstance(one.node, PictureNode) else one.node.steps[0]
        path = one.node.heading.path or path_of(own)
        said = [*node_tip(one.node, drawn)]
    move = _SLANT * deep
    for _ in range(one.copies):
        if move:
            pen = f"c 7 -{palette.line}"
            corners = [(x, y + height), (x + thick, y + height)]
            back = [
                (x + thick + move, y + height + move),
                (x + move, y + height + move),
            ]
            yield _polygon(pen, mix_colours(fill, "#ffffff", 0.35), [*corners, *back])
            side = [(x + thick, y), (x + thick + move, y + move)]
            ends = [(x + thick + move, y + height + move), (x + thick, y + height)]
            yield _polygon(pen, mix_colours(fill, "#000000", 0.18), [*side, *ends])
        name = writer.new_id()
        writer.paths[name] = path
        graph.node(
            name,
            "",
            pos=f"{x + thick / 2:g},{y + height / 2:g}",
            width=f"{thick / 72:.4f}",
            height=f"{height / 72:.4f}",
            fixedsize="true",
            style="filled",
            fillcolor=fill,
            tooltip=tip(said),
            id=writer.unique(path),
        )
        x += thick + _NEAR


def _polygon(pen: str, fill: str, points: Sequence[tuple[float, float]]) -> str:
    """Return a polygon in Graphviz's xdot format for backgrounds."""
    spots = " ".join(f"{x:.2f} {y:.2f}" for x, y in points)
    around = f"{len(points)} {spots}"
    return f"{pen} C 7 -{fill} P {around} {pen} p {around}"


def _label(
    graph: Digraph, one: Volume, spot: tuple[float, float], writer: DotWriter
) -> None:
    x, ground = spot
    width, height = _text(one.lines), _LINE * len(one.lines)
    graph.node(
        f"label_{writer.new_id()}",
        escaped(one.lines),
        shape="plaintext",
        pos=f"{x:g},{ground - 5 - height / 2:g}",
        width=f"{width / 72:.4f}",
        height=f"{height / 72:.4f}",
        margin="0",
    )


def _legend(graph: Digraph, chain: Sequence[Volume], writer: DotWriter) -> None:
    """Write the colours of the chain's families in a row at the bottom."""
    nodes = [one.node for one in chain if isinstance(one.node, PictureNode)]
    found = {layer_family(node.main.op.family) for node in nodes}
    x = MARGIN
    for key in [] if writer.heaviest else [key for key in FAMILIES if key in found]:
        width = _text([FAMILIES[key]]) + 8
        graph.node(
            f"key_{key}",
            FAMILIES[key],
            pos=f"{x + width / 2:g},{MARGIN + EDGE / 2 + 4:g}",
            width=f"{width / 72:.4f}",
            height="0.25",
            fixedsize="true",
            style="filled",
            fillcolor=writer.palette.fills[key],
        )
        x += width + _GAP


def _corner(graph: Digraph, size: Size) -> None:
    """Write a node as large as the picture, since engines ignore backgrounds."""
    graph.node(
        "all",
        "",
        style="invis",
        pos=f"{size.width / 2:g},{size.height / 2:g}",
        width=f"{size.width / 72:.4f}",
        height=f"{size.height / 72:.4f}",
        fixedsize="true",
    )
