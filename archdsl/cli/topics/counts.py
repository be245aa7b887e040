"""`archdsl explain counts`."""

from __future__ import annotations

from archdsl.api import load
from archdsl.backends.text import align, show_count
from archdsl.layer import count as elements
from archdsl.passes.conventions import TOOLS, about, by_family, count
from archdsl.passes.graph import Graph, flatten

EXAMPLE = "resnet50"
FAMILIES = ("conv", "linear", "norm", "activation", "pool")


def page() -> str:
    """Return why the tools differ, with the figures of an example."""
    graph = flatten(load(EXAMPLE))
    totals = {tool: count(graph, tool).total for tool in TOOLS}
    factor = totals["calflops"] / totals["mac"]
    return "\n\n".join(
        [
            f"counts: {TITLE}",
            INTRODUCTION,
            f"{EXAMPLE} for one sample, as each tool counts it:",
            _table(graph),
            "The last row says how many outputs the layers of a family have. With it "
            "the table explains itself: fvcore counts 2 for each output of a norm, "
            "thop 4, and torchinfo 2 for each channel. The total of calflops is "
            f"{factor:.2f} times that of archdsl, mostly as it counts two a MAC.",
            *(f"{tool}: {about(tool)}" for tool in TOOLS),
            _forms(graph),
            ENDING,
        ]
    )


TITLE = "why tools that count operations disagree"
INTRODUCTION = (
    "No two of them count the same. They differ in what an operation is (a multiply-"
    "accumulate, or each half of it), in what has any (biases, norms, activations, "
    "pools), and in where they look: at parameters, at modules, at functions, or at "
    "the operators behind these. `archdsl analyze SPEC --count TOOL` gives each tool's "
    "total to the unit, for the module that archdsl emits, without running it."
)
ENDING = (
    "All but fvcore and torchinfo take a module to evaluation mode first, so that "
    "auxiliary heads never count; with `--mode train` those two count them. Layers of "
    "your own (`op`) count with the MACs that the spec declares; anything else whose "
    "count is not known is an error (A0703), and never nothing. To compare networks, "
    "use one tool; to quote a figure, say which, with its version. "
    "benchmarks/accuracy.md has all shipped networks of torchvision under every tool."
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
        "The form matters, too. A layer that a spec does not name, archdsl writes as a "
        f"function where it can (`F.relu`). torchvision's {EXAMPLE} has modules for "
        f"all, and so other totals: {'; '.join(figures)}."
    )
