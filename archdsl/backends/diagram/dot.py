"""Pictures as dot text.

Every id is generated, and every user-supplied text passes through `escaped`, so nothing
in a name can become an attribute, markup or an escape sequence of dot.

No arrow crosses the title of a box: routes.py tells where arrows end.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING

from archdsl.ir import Port
from archdsl.values import show_shape

from .bend import is_across, node_numbers
from .labels import (
    closed_lines,
    escaped,
    fitting_heading,
    heading_of,
    is_shared,
    macs,
    node_lines,
    node_tip,
    params,
    tip,
)
from .options import FONT, Options
from .picture import Box, Closed, Picture, PictureNode, PicturePart, path_of
from .routes import JOINT, Arrow, Routes
from .themes import FAMILIES, PALETTES, Palette, layer_family, shade

if TYPE_CHECKING:
    from graphviz import Digraph

# Fonts differ between machines: the first available one is used.
FONTS = "Helvetica,Arial,DejaVu Sans,sans-serif"
_TRAINING = "training"
_NOT_AN_ID = re.compile(r"[^\w.-]", re.ASCII)


def new_graph(options: Options, title: Sequence[str] = ()) -> Digraph:
    """Return an empty graph with the attributes that all of its parts share."""
    import graphviz

    palette = PALETTES[options.theme]
    about = {"label": escaped(title), "labelloc": "t"} if title else {}
    graph: Digraph = graphviz.Digraph(
        "network",
        graph_attr={
            **about,
            # Arrows may end at boxes; ranks across boxes keep branches in order.
            "compound": "true",
            "newrank": "true",
            "rankdir": options.direction,
            "bgcolor": palette.paper,
            "fontcolor": palette.text,
            "fontname": FONTS,
            "fontsize": "18",
            "nodesep": "0.2",
            "ranksep": "0.07" if options.tight else "0.15",
            "pad": "0.2",
        },
        node_attr={
            "fontname": FONTS,
            "fontsize": f"{FONT:g}",
            "fontcolor": palette.text,
            "shape": "box",
            "height": "0.28",
            "color": palette.line,
            "margin": "0.09,0.04",
        },
        edge_attr={"color": palette.edge, "arrowsize": "0.6"},
    )
    return graph


class DotWriter:
    """Writes pictures into graphs; ids differ among all that it writes.

    Attributes:
        options: how to draw.
        palette: the colours.
        paths: the paths of the steps and ports that nodes represent, by the node's id.
        ids: the ids of the nodes that make a value, by its number, in the last picture.
        taken: ids that are used in svg, with the number of elements that asked for
            each.
        exit: the id of the node from which the last picture continues in another
            column, if any.
    """

    def __init__(self, options: Options, heaviest: int = 0) -> None:
        self.options = options
        self.palette: Palette = PALETTES[options.theme]
        self.heaviest = heaviest
        self.paths: dict[str, str] = {}
        self.ids: dict[int, str] = {}
        self.exit = ""
        self._nodes = count(1)
        self._boxes = count(1)
        self.taken: Counter[str] = Counter()

    def write(self, graph: Digraph, drawn: Picture, lowest: int | None = None) -> None:
        """Write one picture; as a U if the lowest node is given."""
        self.ids, self.exit = {}, ""
        for port in drawn.inputs:
            self.ids[port.value] = self.new_id()
            self._port(graph, self.ids[port.value], port)
        nodes = {id(node): self._new(node) for node in drawn.nodes()}
        for edge in drawn.edges:
            if isinstance(edge.head, Port):
                name = nodes[id(edge.head)] = self.new_id()
                self._port(graph, name, edge.head)
                self.exit = name if edge.head.name == JOINT else self.exit
        routes = Routes(drawn, self.ids, nodes, self)
        self._parts(graph, drawn, drawn.parts, 0, routes, nodes)
        order = node_numbers(drawn) if lowest is not None else {}
        for arrow in routes.arrows:
            self._arrow(graph, arrow, order, lowest)

    def _new(self, node: PictureNode | Closed) -> str:
        name = self.new_id()
        self.ids.update((step.output, name) for step in node.steps)
        return name

    def legend(self, graph: Digraph, pictures: Iterable[Picture]) -> None:
        """Write a legend of the colours and shapes in the pictures."""
        nodes = [node for drawn in pictures for node in drawn.nodes()]
        layers = [node.main for node in nodes if isinstance(node, PictureNode)]
        found = {layer_family(step.op.family) for step in layers}
        training = any(step.training for node in nodes for step in node.steps)
        keys = [key for key in FAMILIES if key in found]
        if self.options.shade != "family":
            keys = ["0", "0.5", "1"]
        keys += [_TRAINING] * training
        with graph.subgraph(name="cluster_legend") as legend:
            legend.attr(label="", style="rounded", color=self.palette.frame, margin="6")
            legend.attr(
                "node", fontsize="11", height="0.2", width="0.9", margin="0.09,0.02"
            )
            last = ""
            for key in keys:
                self._key(legend, key)
                if last:
                    legend.edge(f"key_{last}", f"key_{key}", style="invis")
                last = key

    def _key(self, graph: Digraph, key: str) -> None:
        name = f"key_{key}"
        if key == _TRAINING:
            graph.node(name, "training only", style="dashed")
        elif key in FAMILIES:
            look = {"shape": "box", "style": _style("filled", key == "merge")}
            graph.node(name, FAMILIES[key], fillcolor=self.palette.fills[key], **look)
        else:
            share = float(key)
            what = "MACs" if self.options.shade == "macs" else "parameters"
            text = f"{share:.0%} of the most {what}"
            fill = shade(self.palette, share)
            graph.node(name, text, style="filled", fillcolor=fill)

    def _parts(
        self,
        graph: Digraph,
        drawn: Picture,
        parts: Iterable[PicturePart],
        depth: int,
        routes: Routes,
        nodes: Mapping[int, str],
    ) -> None:
        for part in parts:
            if not isinstance(part, Box):
                self._node(graph, drawn, part, nodes[id(part)])
                continue
            with graph.subgraph(name=routes.clusters[id(part)]) as inner:
                inner.attr(**self._box(part, depth))
                # On separate lines, whose order is reversed for a mirror image.
                inner.attr(labeljust="l")
                inner.attr(labelloc="t")
                triangles = routes.triangles.get(id(part), [])
                for triangle in triangles:
                    self._triangle(inner, triangle, part)
                if len(triangles) > 1:
                    with inner.subgraph() as row:
                        row.attr(rank="same")
                        for triangle in triangles:
                            row.node(triangle)
                self._parts(inner, drawn, part.parts, depth + 1, routes, nodes)

    def _box(self, box: Box, depth: int) -> dict[str, str]:
        """Return the attributes of an open box."""
        palette = self.palette
        folded = box.heading.copies > 1
        more = " (continued)" if box.continued else ""
        return {
            "label": escaped([fitting_heading(box.heading) + more]),
            "tooltip": tip([heading_of(box.heading, str)]),
            "id": self.unique(box.heading.path or "repeat"),
            "fontsize": f"{FONT:g}",
            "style": _dashed("rounded,filled", box.training),
            "fillcolor": palette.tints[min(depth, len(palette.tints) - 1)],
            "color": palette.strong if folded else palette.frame,
            "penwidth": "1.5" if folded else "1",
        }

    def _node(
        self, graph: Digraph, drawn: Picture, node: PictureNode | Closed, name: str
    ) -> None:
        if isinstance(node, Closed):
            lines = closed_lines(node, drawn, self.options)
            self.paths[name] = node.heading.path
        else:
            lines = node_lines(node, drawn, self.options)
            self.paths[name] = " and ".join(map(path_of, node.steps))
        graph.node(
            name,
            escaped(lines),
            tooltip=tip(node_tip(node, drawn)),
            id=self.unique(self.paths[name].partition(" ")[0]),
            **self.node_style(node, drawn),
        )

    def node_style(self, node: PictureNode | Closed, drawn: Picture) -> dict[str, str]:
        """Return the attributes of a node's shape and colours."""
        if isinstance(node, Closed):
            look = {"style": _dashed("rounded,filled", node.box.training)}
            look["fillcolor"] = self.palette.closed
        else:
            family = layer_family(node.main.op.family)
            style = _style("filled", family == "merge")
            look = {"style": _dashed(style, node.main.training)}
            look["fillcolor"] = self.palette.fills[family]
            if family == "merge":
                look |= {"height": "0.22", "margin": "0.08,0.01"}
        if is_shared(node):
            look["peripheries"] = "2"
        if self.heaviest:
            look["fillcolor"] = shade(
                self.palette, self.weight(node, drawn) / self.heaviest
            )
        if node.heading.copies > 1:
            look |= {"penwidth": "1.8", "color": self.palette.strong}
        return look

    def weight(self, node: PictureNode | Closed, drawn: Picture) -> int:
        """Return the figure for shading, of all steps that a node represents."""
        cost = macs if self.options.shade == "macs" else params
        twins = (twin for step in node.steps for twin in drawn.twins[step.output])
        return sum(cost(twin) for twin in twins)

    def _port(self, graph: Digraph, name: str, port: Port) -> None:
        if port.name == JOINT:
            graph.node(
                name,
                "",
                shape="point",
                margin="0",
                width="0.05",
                color=self.palette.strong,
            )
            return
        self.paths[name] = port.name
        lines = [port.name]
        if self.options.detail != "names":
            lines = [f"{port.name} {show_shape(port.shape)}"]
        graph.node(
            name,
            escaped(lines),
            shape="oval",
            height="0.25",
            margin="0.02,0.02",
            style=_dashed("filled", port.training),
            fillcolor=self.palette.fills["merge"],
            id=self.unique(port.name),
        )

    def _triangle(self, graph: Digraph, name: str, box: Box) -> None:
        """Write the triangle at which a box's input fans out."""
        self.paths[name] = f"input of {box.heading.path}"
        sideways = self.options.direction == "LR"
        width, height = ("0.07", "0.14") if sideways else ("0.14", "0.07")
        graph.node(
            name,
            " ",  # pygraphviz writes the node's name if there is no label
            margin="0",
            shape="triangle" if sideways else "invtriangle",
            orientation="-90" if sideways else "0",
            style="filled",
            fillcolor=self.palette.edge,
            color=self.palette.edge,
            width=width,
            height=height,
            fixedsize="true",
        )

    def _arrow(
        self,
        graph: Digraph,
        arrow: Arrow,
        order: dict[int, int],
        lowest: int | None,
    ) -> None:
        edges = arrow.edges
        look = {"tooltip": show_shape(edges[0].shape)}
        if all(edge.training for edge in edges):
            look["style"] = "dashed"
        if all(edge.reference for edge in edges):
            look["style"] = "dotted"
        if any(isinstance(e.head, Port) and e.head.name == JOINT for e in edges):
            look["dir"] = "none"
        if arrow.border:
            look["lhead"] = arrow.border
        if lowest is None:
            graph.edge(arrow.start, arrow.end, **look)
        elif is_across(edges[0], order, lowest):
            with graph.subgraph() as row:
                row.attr(rank="same")
                row.node(arrow.start)
                row.node(arrow.end)
            graph.edge(arrow.start, arrow.end, weight="0", penwidth="1.5", **look)
        elif order.get(edges[0].tail, -1) >= lowest:
            # The arrow is on the way up, so ranks count backwards.
            graph.edge(arrow.end, arrow.start, dir="back", **look)
        else:
            graph.edge(arrow.start, arrow.end, **look)

    def new_box(self) -> str:
        """Return a name that no other box has."""
        return f"cluster_{next(self._boxes)}"

    def new_id(self) -> str:
        """Return an id that no other node has."""
        return f"n{next(self._nodes)}"

    def unique(self, path: str) -> str:
        """Return a path as an id of svg, with a number if it is taken."""
        wanted = _NOT_AN_ID.sub("_", path)
        found = first = wanted if wanted[:1].isalpha() else f"p_{wanted}"
        while found in self.taken:
            self.taken[first] += 1
            found = f"{wanted}__{self.taken[first]}"
        self.taken[found] = 1
        return found


def _style(style: str, rounded: bool) -> str:
    return f"rounded,{style}" if rounded else style


def _dashed(style: str, training: bool) -> str:
    return f"{style},dashed" if training else style
