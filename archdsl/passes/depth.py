"""The depth of a network."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from archdsl.ir.graph import Graph, Node


class Rung(NamedTuple):
    """All that the depth depends on of a layer.

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
    rungs = map(_rung, graph.run(training=False))
    return depth_of(graph.inputs, rungs, graph.outputs(training=False))


def depth_of(
    inputs: Iterable[int], rungs: Iterable[Rung], outputs: Iterable[int]
) -> int:
    """Return the depth from rungs in execution order, without a graph."""
    found = _longest(inputs, rungs)
    return max(found[value] for value in outputs)


def depths(graph: Graph) -> dict[int, int]:
    """Return the weighted layers on the longest path from an input to each value.

    Neither auxiliary heads nor projections on the shortcuts of residuals count, as
    in the papers that give networks their names (He et al. 2015, table 1: the 50
    of ResNet-50 leaves out its four projections).
    """
    return _longest(graph.inputs, map(_rung, graph.run(training=False)))


def _rung(node: Node) -> Rung:
    return Rung(node.inputs, node.output, node.op.weighted and not node.shortcut)


def _longest(inputs: Iterable[int], rungs: Iterable[Rung]) -> dict[int, int]:
    longest = dict.fromkeys(inputs, 0)
    for read, output, counts in rungs:
        longest[output] = max([longest[value] for value in read]) + counts
    return longest
