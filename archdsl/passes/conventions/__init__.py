"""How other tools count, one file each, and what their totals would be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from archdsl.passes.graph import Graph, Node
    from archdsl.passes.written import Form

TOOLS: Final[Mapping[str, str]] = {
    "mac": "multiply-accumulates of convolutions and linear layers",
    "fvcore": "fvcore.nn.FlopCountAnalysis",
    "torchinfo": "torchinfo.summary, its mult-adds",
    "thop": "thop.profile",
    "ptflops": "ptflops.get_model_complexity_info with the backend aten",
    "ptflops_module": "ptflops.get_model_complexity_info with the backend pytorch",
    "calflops": "calflops.calculate_flops, its FLOPs",
}


class Count(NamedTuple):
    """What a tool counts, for one sample.

    Attributes:
        tool: its name in `TOOLS`.
        unit: ``MACs`` or ``FLOPs``, as the tool calls them.
        total: of the whole network, the sum of `layers`.
        layers: of each node of the graph, in order; 0 for those that do not run.
        note: what is counted, in a sentence.
    """

    tool: str
    unit: str
    total: int
    layers: tuple[int, ...]
    note: str

    def as_dict(self) -> dict[str, Any]:
        """Return plain data; the layers' own figures stand with the layers."""
        return {
            "tool": self.tool,
            "unit": self.unit,
            "total": self.total,
            "note": self.note,
        }


def count(
    graph: Graph,
    tool: str,
    training: bool = False,
    forms: Callable[[Node], Form] | None = None,
) -> Count:
    """Return what a tool counts in the module of a network, for one sample.

    What a spec does not name is a function in the emitted code, but for what reads a
    block's parameter; this is seen only in a network that was loaded with symbols.

    Args:
        graph: of the network.
        tool: one of `TOOLS`.
        training: whether the module is in training mode. Most tools take it to
            evaluation mode, whatever it was in, so that auxiliary heads do not run.
        forms: how each step is written; as archdsl writes it when left out.

    Raises:
        KeyError: if there is no such tool.
    """
    from archdsl.passes.written import functions, out_of_order, written

    TOOLS[tool]
    convention = import_module(f"{__name__}.{tool}")
    training = training and not convention.EVALUATES
    if forms is None:
        called = functions(graph.network)

        def forms(node: Node) -> Form:
            return "function" if node.output in called else "module"

    moved = out_of_order(graph)
    layers = []
    for node in graph.nodes:
        step = written(node, forms(node))
        if moved and node.inputs[0] in moved:
            step = step._replace(in_order=False)
        runs = training or not node.training
        layers.append(convention.count(step, training) if runs else 0)
    return Count(tool, convention.UNIT, sum(layers), tuple(layers), convention.NOTE)


def by_family(graph: Graph, layers: Sequence[int]) -> dict[str, int]:
    """Return figures of the nodes, summed over the layers of a family.

    Args:
        graph: of the network.
        layers: a figure of each node, in order.
    """
    found: dict[str, int] = {}
    for node, figure in zip(graph.nodes, layers, strict=True):
        found[node.op.family] = found.get(node.op.family, 0) + figure
    return found


def about(tool: str) -> str:
    """Return a paragraph about what a tool counts, and where it looks."""
    text: str = import_module(f"{__name__}.{tool}").ABOUT
    return text
