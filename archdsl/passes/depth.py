"""The depth of a network."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from archdsl.ir.graph import Graph, Node


class DepthNode(NamedTuple):
    """A layer of the graph whose longest path is the depth.

    Attributes:
        inputs: numbers of the values that it reads.
        output: number of the value that it defines.
        counts: whether it has weights, and is not on the shortcut of a residual.
    """

    inputs: tuple[int, ...]
    output: int
    counts: bool


def depth(graph: Graph) -> int:
    """Return the weighted layers on the longest path from an input to an output."""
    nodes = map(_depth_node, graph.run(training=False))
    return depth_of(graph.inputs, nodes, graph.outputs(training=False))


def depth_of(
    inputs: Iterable[int], nodes: Iterable[DepthNode], outputs: Iterable[int]
) -> int:
    """Return the depth from layers in execution order, without a graph."""
    found = _longest(inputs, nodes)
    return max(found[value] for value in outputs)


def depths(graph: Graph) -> dict[int, int]:
    """Return the weighted layers on the longest path from an input to each value.

    Neither auxiliary heads nor projections on the shortcuts of residuals count, as
    in the papers that give networks their names (He et al. 2015, table 1: the 50
    of ResNet-50 leaves out its four projections).
    """
    return _longest(graph.inputs, map(_depth_node, graph.run(training=False)))


def _depth_node(node: Node) -> DepthNode:
    return DepthNode(node.inputs, node.output, node.op.weighted and not node.shortcut)


def _longest(inputs: Iterable[int], nodes: Iterable[DepthNode]) -> dict[int, int]:
    longest = dict.fromkeys(inputs, 0)
    for read, output, counts in nodes:
        longest[output] = max([longest[value] for value in read]) + counts
    return longest
