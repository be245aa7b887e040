"""The costs of layers: parameters, buffers, MACs, operations and memory traffic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from archdsl.ir.graph import Graph, Node
from archdsl.layer import Layer
from archdsl.torch.gradient import backward_macs
from archdsl.values import Shape, Tensor

from .setting import DEFAULT
from .traffic import Traffic, total_traffic, traffic


class Cost(NamedTuple):
    """The cost of one layer, or of several together, in one mode.

    Attributes:
        params: elements of parameters, trainable or not.
        trainable: elements of parameters that an optimiser changes.
        buffers: elements of buffers, counters included.
        counters: elements of those buffers that are 64-bit integers.
        tensors: number of trainable parameter tensors.
        macs: multiply-accumulates of convolutions and linear layers for one
            sample, without biases.
        bias: sums of biases for one sample.
        norm: operations of normalisations for one sample.
        activation: operations of activations for one sample.
        pool: operations of poolings for one sample.
        add: sums and products of branches for one sample.
        other: all other operations for one sample, such as interpolation.
        per_batch: further operations of training, once for each batch whatever its
            size: those that make batch norm's statistics.
    """

    params: int = 0
    trainable: int = 0
    buffers: int = 0
    counters: int = 0
    tensors: int = 0
    macs: int = 0
    bias: int = 0
    norm: int = 0
    activation: int = 0
    pool: int = 0
    add: int = 0
    other: int = 0
    per_batch: int = 0

    @property
    def elementwise(self) -> int:
        """Operations besides the MACs for one sample; see `Layer.elementwise`."""
        return (
            self.bias + self.norm + self.activation + self.pool + self.add + self.other
        )

    @property
    def flops(self) -> int:
        """Operations for one sample: two for each MAC, one for each other."""
        return 2 * self.macs + self.elementwise

    @property
    def ops(self) -> dict[str, int]:
        """Operations besides the MACs for one sample, by what they are for."""
        return {
            "bias": self.bias,
            "norm": self.norm,
            "activation": self.activation,
            "pool": self.pool,
            "add": self.add,
            "other": self.other,
        }

    def flops_of(self, batch: int) -> int:
        """Return the operations for a batch of that many samples."""
        return batch * self.flops + self.per_batch

    def sparing(self, other: Cost) -> Cost:
        """Return the cost without the operations of layers that do not run."""
        first = Cost._fields.index("macs")
        work = [a - b for a, b in zip(self[first:], other[first:], strict=True)]
        return Cost(*self[:first], *work)


def cost(node: Node, *, training: bool = False) -> Cost:
    """Return the cost of one layer, with the operations of that mode."""
    # Weights shared with an earlier layer do not count twice.
    tensors = () if node.step.shared else node.tensors
    return cost_of(node.op, node.input_shapes, node.shape, tensors, training)


def cost_of(
    op: Layer,
    inputs: tuple[Shape, ...],
    output: Shape,
    tensors: Iterable[Tensor],
    training: bool = False,
) -> Cost:
    """Return the cost of a layer for some shapes, with some parameters and buffers."""
    trainable = buffers = counters = count = 0
    for tensor in tensors:
        elements = tensor.elements
        if tensor.trainable:
            trainable += elements
            count += 1
        else:
            buffers += elements
            counters += elements if tensor.integer else 0
    # The language has no parameters that are not trained, so both are equal.
    return Cost(
        trainable,
        trainable,
        buffers,
        counters,
        count,
        op.macs(inputs, output),
        *op.operations(inputs, output, training),
    )


def total(costs: Iterable[Cost]) -> Cost:
    """Return the sum of several costs."""
    return Cost(*map(sum, zip(*costs, strict=True)))


class Work(NamedTuple):
    """All that one layer, or several together, cost for a batch in one mode.

    Attributes:
        cost: parameters, and MACs and operations for one sample.
        traffic: bytes moved for the batch.
        backward_macs: MACs of the backward pass for one sample; see
            `gradient.backward_macs`.
        batch: samples in the batch.
    """

    cost: Cost
    traffic: Traffic
    backward_macs: int
    batch: int

    @property
    def batch_flops(self) -> int:
        """Operations for the batch."""
        return self.cost.flops_of(self.batch)

    @property
    def intensity(self) -> float | None:
        """Operations for each byte moved; None if no byte is."""
        moved = self.traffic.bytes
        return self.batch_flops / moved if moved else None

    def as_dict(self) -> dict[str, Any]:
        """Return what is not in the layer's other facts as plain data."""
        return {
            "ops": self.cost.ops,
            "ops_per_batch": self.cost.per_batch,
            "batch_flops": self.batch_flops,
            "backward_macs": self.backward_macs,
            "bytes_read": self.traffic.read,
            "bytes_written": self.traffic.written,
            "intensity": self.intensity,
        }


class Costs(NamedTuple):
    """What a network costs for a batch in one mode.

    Attributes:
        layers: cost of each node of the graph, as if it ran in that mode.
        whole: cost of all layers that run in that mode; its parameters and buffers are
            those of the whole module, whatever runs.
        auxiliary: cost of the layers that are only needed for outputs of the training
            mode. In training, it is a part of the whole; in inference, where they do
            not run, it is what they would add.
        dtype: data type of parameters and activations.
        training: whether the mode is that of training.
    """

    layers: tuple[Work, ...]
    whole: Work
    auxiliary: Work
    dtype: str
    training: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the totals as plain data."""
        return {
            "mode": "train" if self.training else "eval",
            "batch": self.whole.batch,
            "dtype": self.dtype,
            **_work_data(self.whole),
            "auxiliary": _work_data(self.auxiliary),
        }


def costs(
    graph: Graph,
    *,
    batch: int = DEFAULT.batch,
    dtype: str = DEFAULT.dtype,
    training: bool = False,
) -> Costs:
    """Return what every layer of a network costs for a batch in one mode.

    Raises:
        ValueError: if there is no such dtype.
    """
    layers = [
        Work(
            cost(node, training=training),
            traffic(node, batch=batch, dtype=dtype, training=training),
            macs,
            batch,
        )
        for node, macs in zip(graph.nodes, backward_macs(graph), strict=True)
    ]
    heads = [n for n, node in enumerate(graph.nodes) if node.training]
    auxiliary = _sum([layers[n] for n in heads], batch)
    whole = _sum(layers, batch)
    if not training:
        whole = _sparing(whole, auxiliary)
    return Costs(tuple(layers), whole, auxiliary, dtype, training)


def _sum(parts: Sequence[Work], batch: int) -> Work:
    return Work(
        total([part.cost for part in parts]),
        total_traffic([part.traffic for part in parts]),
        sum([part.backward_macs for part in parts]),
        batch,
    )


def _sparing(whole: Work, other: Work) -> Work:
    read = whole.traffic.read - other.traffic.read
    written = whole.traffic.written - other.traffic.written
    return Work(
        whole.cost.sparing(other.cost),
        Traffic(read, written),
        whole.backward_macs - other.backward_macs,
        whole.batch,
    )


def _work_data(work: Work) -> dict[str, Any]:
    return {"macs": work.cost.macs, "flops": work.cost.flops, **work.as_dict()}
