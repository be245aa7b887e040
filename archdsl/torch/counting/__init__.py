"""The counting rules of other tools, one file each, and the totals they give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from archdsl.diagnostics import Diagnostic, SpecError

if TYPE_CHECKING:
    from archdsl.ir.graph import Graph, Node
    from archdsl.torch.calls import CallForm

TOOLS: Final[Mapping[str, str]] = {
    "mac": "multiply-accumulates of convolutions and linear layers",
    "fvcore": "fvcore.nn.FlopCountAnalysis",
    "torchinfo": "torchinfo.summary, its mult-adds",
    "thop": "thop.profile",
    "ultralytics_thop": "thop.profile of the package ultralytics-thop",
    "ptflops": "ptflops.get_model_complexity_info with the backend aten",
    "ptflops_module": "ptflops.get_model_complexity_info with the backend pytorch",
    "calflops": "calflops.calculate_flops, its FLOPs",
}


class Count(NamedTuple):
    """The count of a tool, for one sample.

    Attributes:
        tool: its name in `TOOLS`.
        version: name and version of the tool whose rules are used.
        unit: ``MACs`` or ``FLOPs``, as the tool calls them.
        total: the total of the whole network, the sum of `layers`.
        layers: the count of each node of the graph, in order; 0 for those that do not
            run.
        note: the counted operations, in a sentence.
    """

    tool: str
    version: str
    unit: str
    total: int
    layers: tuple[int, ...]
    note: str

    def as_dict(self) -> dict[str, Any]:
        """Return plain data; the figures of layers are in the layers' own data."""
        return {
            "tool": self.tool,
            "version": self.version,
            "unit": self.unit,
            "total": self.total,
            "note": self.note,
        }


def count(
    graph: Graph,
    tool: str,
    training: bool = False,
    forms: Callable[[Node], CallForm] | None = None,
) -> Count:
    """Return what a tool counts in the module of a network, for one sample.

    A layer without a label becomes a function in the emitted code, unless it uses a
    parameter of its block. That is only known of a network that was loaded with
    symbols.

    Args:
        graph: the graph of the network.
        tool: the name of the tool, from `TOOLS`.
        training: whether the module is in training mode. Most tools take it to
            evaluation mode, whatever it was in, so that auxiliary heads do not run.
        forms: how each step is written; by default, as archdsl writes it.

    Raises:
        KeyError: if there is no such tool.
        SpecError: if it is not known how the tool counts some call.
    """
    from archdsl.torch.calls import executed, functions, out_of_order
    from archdsl.torch.functions import UnknownCount

    TOOLS[tool]
    convention = import_module(f"{__name__}.{tool}")
    training = training and not convention.EVALUATES
    if forms is None:
        called = functions(graph.network)

        def forms(node: Node) -> CallForm:
            return "function" if node.output in called else "module"

    moved = out_of_order(graph)
    layers = []
    for node in graph.nodes:
        step = executed(node, forms(node))
        if moved and node.inputs[0] in moved:
            step = step._replace(in_order=False)
        runs = training or not node.training
        try:
            layers.append(convention.count(step, training) if runs else 0)
        except UnknownCount as unknown:
            raise SpecError([_not_known(convention.VERSION, unknown, node)]) from None
    return Count(
        tool,
        convention.VERSION,
        convention.UNIT,
        sum(layers),
        tuple(layers),
        convention.NOTE,
    )


def _not_known(version: str, unknown: Exception, node: Node) -> Diagnostic:
    return Diagnostic(
        "A0703",
        f"it is not known how {version} counts `{unknown}`",
        node.step.span,
        label=f"{node.step.path} calls it",
        help="count by another tool; `archdsl explain counts` lists them",
    )


def by_family(graph: Graph, layers: Sequence[int]) -> dict[str, int]:
    """Return figures of the nodes, summed over the layers of a family.

    Args:
        graph: the graph of the network.
        layers: a figure of each node, in order.
    """
    found: dict[str, int] = {}
    for node, figure in zip(graph.nodes, layers, strict=True):
        found[node.op.family] = found.get(node.op.family, 0) + figure
    return found


def about_tool(tool: str) -> str:
    """Return a paragraph about what a tool counts, and how it works."""
    convention = import_module(f"{__name__}.{tool}")
    text: str = convention.ABOUT
    return text if tool == "mac" else f"{text} This is {convention.VERSION}."
