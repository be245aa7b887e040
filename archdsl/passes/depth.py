"""The depth of a network."""

from __future__ import annotations

from .graph import Graph


def depth(graph: Graph) -> int:
    """Return the weighted layers on the longest path from an input to an output."""
    found = depths(graph)
    return max(found[value] for value in graph.outputs(training=False))


def depths(graph: Graph) -> dict[int, int]:
    """Return the weighted layers on the longest path from an input to each value.

    Neither auxiliary heads nor projections on the shortcuts of residuals count, as
    in the papers that give networks their names (He et al. 2015, table 1: the 50
    of ResNet-50 leaves out its four projections).
    """
    longest = dict.fromkeys(graph.inputs, 0)
    for node in graph.run(training=False):
        before = max([longest[value] for value in node.inputs])
        longest[node.output] = before + (node.op.weighted and not node.shortcut)
    return longest
