"""A lower bound for the time that a network takes on a device, layer by layer.

Source: Williams, Waterman & Patterson 2009, "Roofline: an insightful visual performance
model for multicore architectures".
"""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

from archdsl.ir.graph import Graph, Node
from archdsl.layer import count
from archdsl.torch.gradient import gradient_values

from .costs import Costs, Work
from .devices import Device
from .dtypes import item_bytes
from .saved import bytes_of, own_size

Bound = Literal["compute", "memory", "launch"]
BOUNDS: Final[tuple[Bound, ...]] = ("compute", "memory", "launch")


class LayerTime(NamedTuple):
    """Lower bound of the time of one layer, or of several together, for a batch.

    Attributes:
        seconds: the largest of the three times below; in training, the sum for the
            forward and the backward pass.
        compute_seconds: time for the operations at peak rates.
        memory_seconds: time for the bytes moved at peak bandwidth.
        launch_seconds: time to launch the kernels, one for each pass.
        bound: which of the three is largest, in training for the longer pass; None if
            there is nothing to compute, as for a view.
    """

    seconds: float = 0.0
    compute_seconds: float = 0.0
    memory_seconds: float = 0.0
    launch_seconds: float = 0.0
    bound: Bound | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the times as plain data."""
        return self._asdict()


class Roofline(NamedTuple):
    """Lower bound of the time of a network for a batch on a device.

    Each layer is one kernel that reads its operands from memory and writes its results
    there, as when torch runs it eagerly: layers are not fused, and do not overlap.
    Nothing that runs in this way is faster on the device. How much slower real kernels
    are differs from kernel to kernel.

    Attributes:
        device: the device.
        dtype: data type of parameters and activations.
        batch: batch size.
        training: whether it is a forward and backward pass of training, including
            auxiliary heads but without loss and optimiser; otherwise a forward pass of
            inference.
        tf32: whether convolutions in float32 may be rounded to TF32.
        launch: seconds between the starts of two kernels.
        layers: times of each node of the graph; None for those that do not run.
    """

    device: Device
    dtype: str
    batch: int
    training: bool
    tf32: bool
    launch: float
    layers: tuple[LayerTime | None, ...]

    @property
    def seconds(self) -> float:
        """Time of all layers, one after the other."""
        return sum([layer.seconds for layer in self.layers if layer])

    @property
    def samples_per_second(self) -> float | None:
        """Throughput; None if there is nothing to compute."""
        return self.batch / self.seconds if self.seconds else None

    def bound_seconds(self, bound: Bound) -> float:
        """Return the time of the layers with a given bound."""
        return sum(
            [
                one.seconds
                for one in self.layers
                if one is not None and one.bound == bound
            ]
        )

    def share(self, bound: Bound) -> float:
        """Return the share of the time of layers with a given bound."""
        return self.bound_seconds(bound) / self.seconds if self.seconds else 0.0

    @property
    def ridge(self) -> float:
        """Matrix operations per byte above which a convolution is bound by compute."""
        rate = self.device.matrix_rate(self.dtype, tf32=self.tf32)
        return rate / self.device.bandwidth

    def as_dict(self) -> dict[str, Any]:
        """Return the totals as plain data."""
        device = self.device
        return {
            "device": device.name,
            "title": device.title,
            "source": device.source,
            "memory_bytes": device.memory_bytes,
            "dtype": self.dtype,
            "batch": self.batch,
            "mode": "train" if self.training else "eval",
            "tf32": self.tf32,
            "ridge": self.ridge,
            "launch_seconds": self.launch,
            "seconds": self.seconds,
            "samples_per_second": self.samples_per_second,
            "bound_seconds": {bound: self.bound_seconds(bound) for bound in BOUNDS},
        }


class Rates(NamedTuple):
    """The rates that apply to one layer.

    Attributes:
        matrix: operations per second of MACs, each of which counts as two.
        vector: operations per second of all others.
        bandwidth: bytes per second.
        launch: seconds between the starts of two kernels.
    """

    matrix: float
    vector: float
    bandwidth: float
    launch: float = 0.0


def roofline(
    graph: Graph,
    costs: Costs,
    device: Device,
    *,
    launch: float | None = None,
    tf32: bool = True,
    forward_only: bool = False,
) -> Roofline:
    """Return a lower bound of the time of a network on a device, in the mode of its
    costs.

    Args:
        graph: the network.
        costs: the costs of its layers, for a batch in a dtype and a mode.
        device: the device.
        launch: seconds between the starts of two kernels; by default the device's own
            value, which is 0 for all built-in devices.
        tf32: whether convolutions in float32 may be rounded to TF32 if the device
            supports it. By default, torch does so for convolutions, but not for linear
            layers.
        forward_only: whether the backward pass of training is left out.

    Raises:
        DeviceError: if the device has no rate for the dtype.
        ValueError: if `launch` is negative.
    """
    start = device.launch_seconds if launch is None else launch
    if start < 0:
        raise ValueError(f"the launch time cannot be {start}")
    rounded = tf32 and costs.dtype == "float32" and "tf32" in device.matrix
    rates = {
        fast: Rates(
            device.matrix_rate(costs.dtype, tf32=fast),
            device.vector_rate(costs.dtype),
            device.bandwidth,
            start,
        )
        for fast in (False, rounded)
    }
    both = costs.training and not forward_only
    backward = _Backward(graph, costs.dtype) if both else None
    layers = [
        _layer_time(node, work, rates[rounded and node.op.family == "conv"], backward)
        if costs.training or not node.training
        else None
        for node, work in zip(graph.nodes, costs.layers, strict=True)
    ]
    return Roofline(
        device,
        costs.dtype,
        costs.whole.batch,
        costs.training,
        rounded,
        start,
        tuple(layers),
    )


def pass_time(macs: int, operations: int, moved: int, rates: Rates) -> LayerTime:
    """Return the lower bound of the time of one kernel.

    Args:
        macs: multiply-accumulates.
        operations: all others.
        moved: bytes read and written.
        rates: the rates that apply to it.
    """
    if not (macs or operations or moved):
        return LayerTime()
    compute = 2 * macs / rates.matrix + operations / rates.vector
    memory = moved / rates.bandwidth
    seconds = max(compute, memory, rates.launch)
    bound: Bound = "launch"
    if seconds == compute:
        bound = "compute"
    elif seconds == memory:
        bound = "memory"
    return LayerTime(seconds, compute, memory, rates.launch, bound)


def _layer_time(
    node: Node, work: Work, rates: Rates, backward: _Backward | None
) -> LayerTime:
    batch, moved = work.batch, work.traffic.bytes
    if not moved:
        return LayerTime()  # a view, for which no kernel runs
    macs = batch * work.cost.macs
    operations = work.batch_flops - 2 * macs
    forward = pass_time(macs, operations, moved, rates)
    if backward is None:
        return forward
    moved = backward.bytes(node, batch)
    if not moved:
        return forward
    # A derivative takes about as many operations as the function itself.
    return _both(
        forward, pass_time(batch * work.backward_macs, operations, moved, rates)
    )


def _both(forward: LayerTime, backward: LayerTime) -> LayerTime:
    """Return the time of two passes, and what bounds the longer one."""
    longer = max(forward, backward, key=lambda one: one.seconds)
    return LayerTime(
        forward.seconds + backward.seconds,
        forward.compute_seconds + backward.compute_seconds,
        forward.memory_seconds + backward.memory_seconds,
        forward.launch_seconds + backward.launch_seconds,
        longer.bound,
    )


class _Backward:
    """Bytes that the backward passes of a network's layers read and write.

    As in the forward pass, each operand is read once and each result written once. The
    operands are the output's gradient, what autograd kept, and the parameters if an
    input gets a gradient. The results are the gradients of the parameters and of those
    inputs. If several layers read a value, the sum of its gradients is not counted.
    """

    def __init__(self, graph: Graph, dtype: str) -> None:
        self.known = gradient_values(graph)
        self.item = item_bytes(dtype)

    def bytes(self, node: Node, batch: int) -> int:
        """Return the bytes for a batch; 0 if the layer passes no gradient on."""
        op, shapes, output = node.op, node.input_shapes, node.shape
        if node.output not in self.known or op.shares_gradient(shapes, output):
            return 0
        gradients = self._gradients(node)
        elements, fixed = count(output) + gradients, 0
        for tensor in node.tensors:
            if tensor.trainable:
                fixed += tensor.elements * (2 if gradients else 1)
        saved = op.saved(shapes, output)
        if saved.input or saved.factors:
            elements += sum([count(shape) for shape in shapes])
        if saved.output:
            elements += count(output)
        own = bytes_of(own_size(saved, self.item), batch)
        return (batch * elements + fixed) * self.item + own

    def _gradients(self, node: Node) -> int:
        """Return the elements of the inputs' gradients for one sample."""
        pairs = zip(node.inputs[: node.op.sources], node.input_shapes, strict=False)
        return sum([count(shape) for value, shape in pairs if value in self.known])
