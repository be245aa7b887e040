"""Which steps may write their output over their input."""

from __future__ import annotations

from collections import Counter

from archdsl.ir import Group

from .flow import OWNERS
from .graph import Graph, Node
from .written import is_function


def inplace(graph: Graph) -> frozenset[int]:
    """Return the outputs of the steps that can run in place, in either mode.

    A step can if its layer knows how, if nothing else reads the memory of its
    input, be it under another value's name, and if the backward pass does not
    need what stood there.
    """
    readers = Counter(value for node in graph.nodes for value in node.inputs)
    # Values whose memory the caller owns, another step reads, or autograd keeps.
    taken = {*graph.inputs, *graph.outputs(training=True)}
    taken.update(value for value, count in readers.items() if count > 1)
    entries = _entries(graph)
    found = set()
    for node in graph.nodes:
        saved = node.op.saved(node.input_shapes, node.shape)
        if node.output not in entries and _overwrites(node, taken):
            found.add(node.output)
            if saved.input:
                taken.add(node.output)  # it is kept in the input's stead
        if _shares(node) and not taken.isdisjoint(node.inputs):
            taken.add(node.output)
        if saved.output or node.op.read_only:
            taken.add(node.output)
    # One module serves all uses of a shared layer, so it must be fine for each.
    refused = {n.step.path for n in graph.nodes if n.output not in found}
    shared = [n for n in graph.nodes if n.step.path in refused]
    return frozenset(found.difference([node.output for node in shared]))


def _entries(graph: Graph) -> set[int]:
    """Return the outputs of functions that read an argument of `forward`.

    A class does not write over what it is called with.
    """
    found = set()
    stack = [part for part in graph.network.root.children if isinstance(part, Group)]
    while stack:
        group = stack.pop()
        stack += [part for part in group.children if isinstance(part, Group)]
        if group.role in OWNERS:
            made: set[int] = set()
            for step in group.steps():
                if step.inputs[0] not in made and is_function(step):
                    found.add(step.output)
                made.add(step.output)
    return found


def _overwrites(node: Node, taken: set[int]) -> bool:
    return (
        len(node.inputs) == 1
        and node.inputs[0] not in taken
        and node.op.torch(node.input_shapes, node.shape).inplace
    )


def _shares(node: Node) -> bool:
    """Return whether the output is the input's memory in some mode."""
    return node.op.aliases(training=True) or node.op.aliases(training=False)
