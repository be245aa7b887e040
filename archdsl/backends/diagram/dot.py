"""A picture as dot text.

Every id is generated, and every text of the user passes through `_label`, so
nothing in a name can become an attribute, markup or an escape of dot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from archdsl.ir import Network, Port, Step
from archdsl.values import show_shape

from .picture import Box, Edge, Heading, Node, Picture, picture

if TYPE_CHECKING:
    from graphviz import Digraph

# Fonts differ between machines: the first that is there is used.
FONTS = "Helvetica,Arial,DejaVu Sans,sans-serif"

# By family, in the legend's order: what the legend says, and a fill that is light
# enough for black text and told from the others with any colour vision.
FAMILIES = {
    "conv": ("convolution", "#70c5ff"),
    "linear": ("linear", "#f5b560"),
    "norm": ("normalisation", "#ffec61"),
    "activation": ("activation", "#afecbf"),
    "pool": ("pooling", "#ec76d1"),
    "merge": ("merge", "#ffffff"),
    "dropout": ("dropout", "#a6a6a6"),
    "reshape": ("reshape", "#c2a278"),
    "other": ("other", "#d5cbe6"),
}
# Backgrounds of boxes, by depth.
_TINTS = ("#f7f7f7", "#ededed", "#e3e3e3")
_MAX_TEXT = 72
_LEGEND_ROW = 5

# In inches. A character's width is an average; it only sets where stripes begin.
_MARGIN = 0.11
_STRIPE = 0.09
_CHARACTER = 0.09


def dot_source(network: Network, *, fold: bool = True) -> str:
    """Return a network's diagram as dot text, the same bytes on every run.

    Args:
        network: what to draw.
        fold: draw equal consecutive copies once, and a chain's steps as one node.
    """
    return dot_of(network, picture(network, fold=fold))


def dot_of(network: Network, drawn: Picture) -> str:
    """Return what is to be drawn of a network as dot text."""
    import graphviz

    graph = graphviz.Digraph(
        "network",
        graph_attr={
            "label": _label(_title(network)),
            "labelloc": "t",
            # Ranks across boxes keep branches in the order of the spec.
            "newrank": "true",
            "fontname": FONTS,
            "fontsize": "18",
            "nodesep": "0.2",
            "ranksep": "0.15",
            "pad": "0.2",
        },
        node_attr={
            "fontname": FONTS,
            "fontsize": "11",
            "shape": "box",
            "height": "0.28",
            "color": "#404040",
            "margin": f"{_MARGIN},0.04",
        },
        edge_attr={
            "fontname": FONTS,
            "fontsize": "9",
            "color": "#606060",
            "arrowsize": "0.6",
        },
    )
    _Writer(graph).network(network, drawn)
    return str(graph.source)


class _Writer:
    """Writes what a picture shows into a graph.

    Attributes:
        ids: of the nodes that make a value, by its number.
    """

    def __init__(self, graph: Digraph) -> None:
        self.graph = graph
        self.ids: dict[int, str] = {}
        self.nodes = 0
        self.boxes = 0

    def network(self, network: Network, drawn: Picture) -> None:
        """Write all of a network."""
        keys = self._legend(network)
        for port in network.inputs:
            self.ids[port.value] = self._port(port)
            for key in keys:
                self.graph.edge(key, self.ids[port.value], style="invis")
        self._parts(self.graph, drawn.parts, depth=0)
        for edge in drawn.edges:
            self._edge(edge)

    def _legend(self, network: Network) -> list[str]:
        """Write a legend of the families used; return the ids of its last row."""
        families = {_family(step) for step in network.steps()}
        keys = [key for key in FAMILIES if key in families]
        if any(step.training for step in network.steps()):
            keys.append("training")
        if not keys:
            return []
        rows = -(-len(keys) // _LEGEND_ROW)
        size = -(-len(keys) // rows)
        with self.graph.subgraph(name="cluster_legend") as legend:
            legend.attr(label="", style="rounded", color="#a0a0a0", margin="6")
            legend.attr("node", fontsize="9", height="0.2", width="0.95", margin="0.04")
            for at in range(0, len(keys), size):
                with legend.subgraph() as row:
                    row.attr(rank="same")
                    for key in keys[at : at + size]:
                        _key(row, key)
                    for left, right in pairwise(keys[at : at + size]):
                        row.edge(f"key_{left}", f"key_{right}", style="invis")
            for above, below in zip(keys, keys[size:], strict=False):
                legend.edge(f"key_{above}", f"key_{below}", style="invis")
        return [f"key_{key}" for key in keys[-size:]]

    def _parts(self, graph: Digraph, parts: Iterable[Node | Box], depth: int) -> None:
        for part in parts:
            if isinstance(part, Node):
                self._node(graph, part)
            elif part.parts:
                self._box(graph, part, depth)

    def _box(self, graph: Digraph, box: Box, depth: int) -> None:
        self.boxes += 1
        folded = box.heading.copies > 1
        with graph.subgraph(name=f"cluster_{self.boxes}") as inner:
            inner.attr(
                label=_label([_heading(box.heading, _short)]),
                tooltip=_label([_heading(box.heading, str)]),
                labeljust="l",
                fontsize="11",
                style=_dashed("rounded,filled", box.training),
                fillcolor=_TINTS[min(depth, len(_TINTS) - 1)],
                color="#000000" if folded else "#a0a0a0",
                penwidth="1.5" if folded else "1",
            )
            self._parts(inner, box.parts, depth + 1)

    def _node(self, graph: Digraph, node: Node) -> None:
        name = self._id()
        self.ids.update((step.output, name) for step in node.steps)
        lines = list(_lines(node))
        graph.node(
            name,
            _label(lines),
            tooltip=_label(map(_tip, node.steps)),
            **_look(node, lines),
        )

    def _port(self, port: Port) -> str:
        name = self._id()
        style = _dashed("filled", port.training)
        label = _label([port.name])
        self.graph.node(name, label, shape="oval", style=style, fillcolor="#ffffff")
        return name

    def _edge(self, edge: Edge) -> None:
        head = edge.head
        name = self._port(head) if isinstance(head, Port) else self.ids[head]
        style = "dashed" if edge.training else None
        label = _label([f" {show_shape(edge.shape)}"])
        self.graph.edge(self.ids[edge.tail], name, label=label, style=style)

    def _id(self) -> str:
        self.nodes += 1
        return f"n{self.nodes}"


def _key(graph: Digraph, key: str) -> None:
    if key == "training":
        graph.node("key_training", "training only", style="dashed")
        return
    text, fill = FAMILIES[key]
    shape = "oval" if key == "merge" else None
    graph.node(f"key_{key}", text, style="filled", fillcolor=fill, shape=shape)


# ---- how nodes look


def _look(node: Node, lines: list[str]) -> dict[str, str]:
    """Return the attributes of a node's shape and colours."""
    family = _family(node.main)
    training = node.main.training
    look = {"fillcolor": FAMILIES[family][1], "style": _dashed("filled", training)}
    stripes = [_family(step) for step in node.steps if step is not node.main]
    if family == "merge":
        look |= {"shape": "oval", "height": "0.2", "margin": "0.03,0"}
    elif stripes:
        margin = _MARGIN + _STRIPE * len(stripes)
        width = 2 * margin + _CHARACTER * max(map(len, lines))
        look |= {
            "fillcolor": _stripes(family, stripes, _STRIPE / width),
            "style": _dashed("striped", training),
            "margin": f"{margin:.2f},0.04",
        }
    if node.heading.copies > 1:
        look["penwidth"] = "1.5"
    return look


def _stripes(family: str, others: list[str], share: float) -> str:
    fills = [FAMILIES[other][1] for other in others]
    # The first takes what the others leave.
    return ":".join([FAMILIES[family][1], *(f"{fill};{share:.3f}" for fill in fills)])


def _dashed(style: str, training: bool) -> str:
    return f"{style},dashed" if training else style


def _family(step: Step) -> str:
    return step.op.family if step.op.family in FAMILIES else "other"


# ---- what labels say


def _title(network: Network) -> Iterator[str]:
    yield network.name
    always = training = 0
    for step in network.steps():
        tensors = () if step.shared else step.op.tensors(*step.input_shapes)
        count = sum(tensor.elements for tensor in tensors if tensor.trainable)
        training += count
        always += 0 if step.training else count
    text = f"{always:,} parameters"
    yield text if always == training else f"{text} ({training:,} in training)"


def _heading(heading: Heading, show: Callable[[str], str]) -> str:
    """Return ``layer1.1 to layer1.2: bottleneck<64>  x2``."""
    names = [show(path) for path in (heading.path, heading.last) if path]
    text = ": ".join(filter(None, (" to ".join(names), heading.call)))
    times = f"x{heading.copies}" if heading.copies > 1 else ""
    return "  ".join(filter(None, (text, times)))


def _name(path: str) -> str:
    return path.rpartition(".")[2]


def _short(path: str) -> str:
    """Return a path's end, from its last part that is not only a number."""
    parts = path.split(".")
    at = len(parts) - 1
    while at > 0 and parts[at].isdigit():
        at -= 1
    return ".".join(parts[at:])


def _lines(node: Node) -> Iterator[str]:
    """Yield the heading, and the main layer between those before and after it."""
    heading = _heading(node.heading, _name)
    if node.heading.path:
        yield heading
    at = node.steps.index(node.main)
    before = [step.op.label() for step in node.steps[:at]]
    after = [step.op.label() for step in node.steps[at + 1 :]]
    if _family(node.main) == "merge":
        yield ", ".join([*before, _named(node.main), *after])
    else:
        yield from filter(
            None, (", ".join(before), _named(node.main), ", ".join(after))
        )
    if heading and not node.heading.path:
        yield heading


def _named(step: Step) -> str:
    """Return the layer, after its name if it has weights or the spec names it."""
    label = step.op.label()
    known = step.labelled or step.op.tensors(*step.input_shapes)
    return f"{step.name}: {label}" if known and step.name != step.op.word else label


def _tip(step: Step) -> str:
    inputs = " and ".join(map(show_shape, step.input_shapes))
    return f"{step.path}: {step.op.label()}, {inputs} to {show_shape(step.shape)}"


def _label(lines: Iterable[str]) -> str:
    """Return lines as one label, in which nothing means anything to dot."""
    import graphviz

    text = r"\n".join(graphviz.escape(_plain(line)) for line in lines)
    return graphviz.nohtml(text)


def _plain(line: str) -> str:
    text = "".join(c if c.isprintable() else " " for c in line)
    if len(text) > _MAX_TEXT:
        text = text[: _MAX_TEXT - 3] + "..."
    return text.replace("&", "&amp;")
