"""What layers cost: parameters, buffers, MACs and operations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .graph import Node


class Cost(NamedTuple):
    """The cost of one layer, or of several together.

    Attributes:
        params: elements of parameters, trainable or not.
        trainable: elements of parameters that an optimiser changes.
        buffers: elements of buffers, counters included.
        counters: elements of those buffers that are 64-bit integers.
        tensors: number of trainable parameter tensors.
        macs: multiply-accumulates of convolutions and linear layers for one
            sample, without biases.
        elementwise: all other operations for one sample; see
            `Layer.elementwise`.
    """

    params: int = 0
    trainable: int = 0
    buffers: int = 0
    counters: int = 0
    tensors: int = 0
    macs: int = 0
    elementwise: int = 0

    @property
    def flops(self) -> int:
        """Operations for one sample: two for each MAC, one for each other."""
        return 2 * self.macs + self.elementwise


def cost(node: Node) -> Cost:
    """Return the cost of one layer."""
    op, inputs, output = node.op, node.input_shapes, node.shape
    trainable = buffers = counters = tensors = 0
    # Weights that an earlier layer has already are not there twice.
    for tensor in () if node.step.shared else op.tensors(*inputs):
        elements = tensor.elements
        if tensor.trainable:
            trainable += elements
            tensors += 1
        else:
            buffers += elements
            counters += elements if tensor.integer else 0
    return Cost(
        # A parameter that is not trained has no form in the language yet.
        params=trainable,
        trainable=trainable,
        buffers=buffers,
        counters=counters,
        tensors=tensors,
        macs=op.macs(inputs, output),
        elementwise=op.elementwise(inputs, output),
    )


def total(costs: Iterable[Cost]) -> Cost:
    """Return the sum of several costs."""
    return Cost(*(sum(column) for column in zip(*costs, strict=True)))
