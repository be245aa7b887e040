"""`archdsl explain counts`."""

from __future__ import annotations

from archdsl.api import load
from archdsl.backends.text import align, show_count
from archdsl.ir.graph import Graph, flatten
from archdsl.layer import count as elements
from archdsl.torch.counting import TOOLS, about_tool, by_family, count

EXAMPLE = "resnet50"
FAMILIES = ("conv", "linear", "norm", "activation", "pool")


def page() -> str:
    """Return an explanation of why tools differ, with figures for an example."""
    graph = flatten(load(EXAMPLE))
    totals = {tool: count(graph, tool).total for tool in TOOLS}
    factor = totals["calflops"] / totals["mac"]
    return "\n\n".join(
        [
            f"counts: {TITLE}",
            INTRODUCTION,
            f"{EXAMPLE} for one sample, as each tool counts it:",
            _table(graph),
            "The last row has the number of outputs of the layers in each column. It "
            "explains the figures: fvcore counts 2 for each output of a norm, thop 4, "
            "and torchinfo 2 for each channel. The total of calflops is "
            f"{factor:.2f} times that of archdsl, mostly because it counts 2 per MAC.",
            *(f"{tool}: {about_tool(tool)}" for tool in TOOLS),
            _forms(graph),
            ENDING,
        ]
    )


TITLE = "why tools that count operations disagree"
INTRODUCTION = (
    "No two of them count the same. They differ in what they call an operation (a "
    "multiply-accumulate, or its multiplication and its addition), in what they count "
    "besides (biases, norms, activations, pools), and in where they look: at "
    "parameters, modules, functions, or the operators behind these. `archdsl analyze "
    "SPEC --count TOOL` gives the exact total of each tool for the module that archdsl "
    "emits, without running it."
)
ENDING = (
    "All tools except fvcore and torchinfo switch the module to evaluation mode first, "
    "so they never count auxiliary heads; those two count them with `--mode train`. "
    "Foreign layers (`op`) count with the MACs that the spec declares. If it is not "
    "known how a tool counts something, that is an error (A0703); it is never counted "
    "as 0. To compare networks, use one tool; to quote a figure, name the tool and its "
    "version. benchmarks/accuracy.md has the shipped torchvision networks under every "
    "tool."
)


def _table(graph: Graph) -> str:
    rows = [["tool", *FAMILIES, "total", "unit"]]
    for tool in TOOLS:
        counted = count(graph, tool)
        found = by_family(graph, counted.layers)
        rows.append([tool, *_cells(found), f"{counted.total:,}", counted.unit])
    outputs = by_family(graph, [elements(node.shape) for node in graph.nodes])
    rows.append(["(outputs)", *_cells(outputs), "", ""])
    return "\n".join(f"  {line}" for line in align(rows, range(1, 7)))


def _cells(found: dict[str, int]) -> list[str]:
    return [show_count(found.get(family, 0)) for family in FAMILIES]


def _forms(graph: Graph) -> str:
    figures = [
        f"{count(graph, tool).total:,} and {modules.total:,} for {tool}"
        for tool in ("thop", "ptflops_module")
        for modules in [count(graph, tool, forms=lambda _: "module")]
    ]
    return (
        "It also matters whether a layer is a module or a function. archdsl emits "
        "layers without weights as functions (`F.relu`) unless the spec names them. "
        f"torchvision's {EXAMPLE} has modules for all of them, which gives different "
        f"totals: {'; '.join(figures)}."
    )
