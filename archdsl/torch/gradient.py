"""Where gradients flow in training."""

from __future__ import annotations

from archdsl.ir.graph import Graph


def tracked(graph: Graph) -> frozenset[int]:
    """Return the values that autograd tracks: those that depend on a parameter.

    A layer that reads only the shape of an input does not depend on it.
    """
    found: set[int] = set()
    for node in graph.nodes:
        sources = node.inputs[: node.op.sources]
        if not found.isdisjoint(sources) or any([t.trainable for t in node.tensors]):
            found.add(node.output)
    return frozenset(found)


def gradient_values(graph: Graph) -> frozenset[int]:
    """Return the values whose gradient the backward pass of training computes.

    These are the values that depend on a parameter and that some output of training
    depends on. A layer that reads only the shape of an input passes no gradient to it.
    """
    used = set(graph.outputs(training=True))
    for node in reversed(graph.nodes):
        if node.output in used:
            used.update(node.inputs[: node.op.sources])
    return tracked(graph) & used


def backward_macs(graph: Graph) -> tuple[int, ...]:
    """Return the MACs of each node's backward pass for one sample, heads included.

    These are the gradients of the weights, and of those inputs that depend on a
    parameter: the first convolution's does not. A layer that no output of training
    depends on has none.
    """
    known = gradient_values(graph)
    return tuple(
        [
            node.op.backward_macs(
                node.input_shapes,
                node.shape,
                tuple([value in known for value in node.inputs]),
            )
            if node.output in known
            else 0
            for node in graph.nodes
        ]
    )
