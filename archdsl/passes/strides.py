"""Which values are not contiguous in memory: views of a part of another value."""

from __future__ import annotations

from typing import NamedTuple

from archdsl.ir.graph import Graph, Node
from archdsl.layer import count
from archdsl.torch.calls import out_of_order
from archdsl.values import Last, Shape


class Gaps(NamedTuple):
    """Values that are not contiguous, by their numbers.

    Attributes:
        inside: values that are not contiguous, since they lie in another one's memory.
        copied: values that are normally views, but copies here, since no view can have
            their shape: a flattened crop, or a flattened map whose channels are last in
            memory.
    """

    inside: frozenset[int]
    copied: frozenset[int]


def gaps(graph: Graph, overwritten: frozenset[int], batch: int) -> Gaps:
    """Return which values are not contiguous in training, and which are copied because
    of it.

    A value whose axes are out of order, as after a permutation, counts as contiguous
    as long as nothing joins them.

    Args:
        graph: the network.
        overwritten: outputs of the steps that need no memory of their own in training.
        batch: batch size; a single sample has no gaps between samples.
    """
    strides: dict[int, Shape] = {}
    copied, mixed = set(), out_of_order(graph)
    for node in graph.nodes:
        if not (node.op.aliases(True) or node.output in overwritten):
            continue
        read = node.input_shapes[0]
        if node.inputs[0] in mixed and len(read) != len(node.shape):
            copied.add(node.output)
            continue
        known = strides.get(node.inputs[0])
        if known is None and count(node.shape) == count(read):
            continue
        steps = _of_view(node, known or _packed(read))
        if steps is None:
            copied.add(node.output)
        elif not _is_packed((batch, *node.shape), steps):
            strides[node.output] = steps
    return Gaps(frozenset(strides), frozenset(copied))


def _packed(shape: Shape) -> Shape:
    """Return the strides of a contiguous value, samples first."""
    steps = [1]
    for n in reversed(shape):
        steps.append(steps[-1] * n)
    return tuple(reversed(steps))


def _is_packed(shape: Shape, steps: Shape) -> bool:
    """Return whether a value is contiguous; an axis of size 1 always is."""
    packed = zip(shape, steps, _packed(shape)[1:], strict=True)
    return all(n == 1 or step == whole for n, step, whole in packed)


def _of_view(node: Node, steps: Shape) -> Shape | None:
    """Return the strides of a view's output, or None if it cannot be one."""
    read = node.input_shapes[0]
    if isinstance(read, Last) or isinstance(node.shape, Last):
        return _packed(node.shape)
    if len(read) == len(node.shape):
        return steps
    packed = (steps[0], *_packed(node.shape)[1:])
    return packed if _is_packed(read, steps[1:]) else None
