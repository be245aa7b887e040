"""How many bytes a layer reads and writes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from archdsl.ir.graph import Node
from archdsl.layer import count
from archdsl.values import Tensor

from .dtypes import COUNTER_BYTES, item_bytes
from .saved import bytes_of, own_size
from .setting import DEFAULT


class Traffic(NamedTuple):
    """Bytes that one layer, or several, read and write for a batch.

    They are those of a device that reads each operand once and writes each result
    once, a layer at a time (Williams et al. 2009, "Roofline", section 3, on compulsory
    traffic). Operands are the inputs whose values are read, in full whatever the
    stride, and parameters and buffers; one that is read twice by a layer counts once.
    The result is the output. In training, running statistics are read and written, and
    what the layer keeps for its backward pass beside inputs and output, such as masks
    and indices, is written. A view moves nothing.

    Attributes:
        read: bytes of the operands.
        written: bytes of the results.
    """

    read: int = 0
    written: int = 0

    @property
    def bytes(self) -> int:
        """Both together."""
        return self.read + self.written


def traffic(
    node: Node,
    *,
    batch: int = DEFAULT.batch,
    dtype: str = DEFAULT.dtype,
    training: bool = False,
) -> Traffic:
    """Return the bytes that one layer reads and writes for a batch.

    Args:
        node: the layer.
        batch: samples in the batch.
        dtype: data type of parameters, buffers and activations; counters are 64-bit
            integers.
        training: whether the mode is that of training.

    Raises:
        ValueError: if there is no such dtype.
    """
    item = item_bytes(dtype)
    op, shapes = node.op, node.input_shapes
    if op.aliases(training):
        return Traffic()
    operands = dict(zip(node.inputs[: op.sources], shapes, strict=False))
    read = batch * item * sum([count(shape) for shape in operands.values()])
    written = batch * item * count(node.shape)
    for tensor in node.tensors:
        size = _bytes(tensor, item)
        if training and tensor.running:
            written += size
        if training or not tensor.integer or not tensor.running:
            read += size
    if training:
        written += bytes_of(own_size(op.saved(shapes, node.shape), item), batch)
    return Traffic(read, written)


def total_traffic(parts: Iterable[Traffic]) -> Traffic:
    """Return the sum of what several layers move."""
    read = written = 0
    for part in parts:
        read += part.read
        written += part.written
    return Traffic(read, written)


def _bytes(tensor: Tensor, item: int) -> int:
    return tensor.elements * (COUNTER_BYTES if tensor.integer else item)
