"""All facts about a network together: what `archdsl analyze` reports."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal, NamedTuple, get_args

from archdsl.ir import Network, Port, Step
from archdsl.values import Shape, Window

from .alignment import Misalignment, alignment
from .conventions import TOOLS, Count, count
from .costs import Cost, Costs, Work, costs
from .coverage import Coverage, LayerCoverage, coverage
from .depth import depth
from .devices import Device
from .dtypes import ITEM_BYTES
from .graph import Graph, Node, flatten
from .memory import OPTIMIZERS, Memory, memory
from .paths import GradientPaths, paths
from .receptive import Field, ReceptiveField, fields, main_value, reports, windows
from .roofline import LayerTime, Roofline, roofline
from .smallest import Smallest, smallest

# Raised by one whenever a key of `Analysis.as_dict` changes its meaning or goes.
SCHEMA: Final = 1

Mode = Literal["eval", "train"]
MODES: Final[tuple[str, ...]] = get_args(Mode)


class Setting(NamedTuple):
    """How the network is run.

    Attributes:
        batch: samples at a time, for memory and bytes moved.
        dtype: of parameters and activations, for memory and bytes moved.
        optimizer: whose state the memory counts: ``sgd``, ``momentum`` or ``adam``.
        mode: ``eval`` for inference, or ``train`` for the forward pass in training,
            auxiliary heads included: whose operations are counted.
        recompute: whether blocks are run again in the backward pass, for memory.
        tool: one whose way of counting is applied, too; see `conventions.TOOLS`.
        device: whose time is estimated, if any.
        budget: bytes of memory for which the largest batch is looked for, if any.
    """

    batch: int = 1
    dtype: str = "float32"
    optimizer: str = "sgd"
    mode: str = "eval"
    recompute: bool = False
    tool: str | None = None
    device: Device | None = None
    budget: int | None = None


class LayerFacts(NamedTuple):
    """The facts about one layer.

    Attributes:
        step: the layer in its place.
        inputs: shapes of what it reads.
        output: shape of what it makes.
        work: what it costs in the mode that is analysed.
        counted: what the setting's tool counts, if there is one.
        receptive_field: what its output's units see of the first input; None if
            the output does not depend on that, or that is a vector.
        coverage: what it reads of its input; None if that is a vector.
        misalignment: how its inputs look at different places, if they do.
        paths: figures of the gradient's paths from the loss, if it has any.
        time: how long it takes at least on the setting's device, if there is one and
            the layer runs.
        saved: the tensors that autograd keeps and that it is the first to hold.
    """

    step: Step
    inputs: tuple[Shape, ...]
    output: Shape
    work: Work
    counted: int | None
    receptive_field: ReceptiveField | None
    coverage: LayerCoverage | None
    misalignment: Misalignment | None
    paths: dict[str, Any] | None
    time: LayerTime | None
    saved: list[dict[str, str | int]]

    @property
    def cost(self) -> Cost:
        """Parameters, buffers and operations."""
        return self.work.cost

    @property
    def name(self) -> str:
        """The layer's path."""
        return self.step.path

    @property
    def kind(self) -> str:
        """The word of its kind."""
        return self.step.op.word

    @property
    def params(self) -> int:
        """Elements of its parameters."""
        return self.cost.params

    @property
    def macs(self) -> int:
        """Its multiply-accumulates for one sample."""
        return self.cost.macs

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as plain data."""
        span, field = self.step.span, self.receptive_field
        return {
            "name": self.step.path,
            "kind": self.step.op.word,
            "line": span.line,
            "file": span.source.name,
            "training": self.step.training,
            "input": list(self.inputs[0]),
            "inputs": [list(shape) for shape in self.inputs],
            "output": list(self.output),
            "params": self.cost.params,
            "trainable": self.cost.trainable,
            "buffers": self.cost.buffers,
            "macs": self.cost.macs,
            "flops": self.cost.flops,
            **self.work.as_dict(),
            "count": self.counted,
            "receptive_field": field.as_dict() if field else None,
            "coverage": self.coverage.as_dict() if self.coverage else None,
            "alignment": self.misalignment.as_dict() if self.misalignment else None,
            "gradient_paths": self.paths,
            "saved": self.saved,
            "time": self.time.as_dict() if self.time else None,
        }


class Terminal(NamedTuple):
    """An input or output of the network.

    Attributes:
        name: the spec's name for it.
        shape: its shape.
        training: whether it exists only in training mode.
    """

    name: str
    shape: Shape
    training: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the terminal as plain data."""
        return {**self._asdict(), "shape": list(self.shape)}


class Fits(NamedTuple):
    """The largest batches whose peaks a memory holds; 0 if not even one sample fits.

    Attributes:
        budget_bytes: size of the memory.
        training_batch: for a training step.
        inference_batch: for a pass of inference.
    """

    budget_bytes: int
    training_batch: int
    inference_batch: int

    def as_dict(self) -> dict[str, int]:
        """Return the sizes as plain data."""
        return self._asdict()


@dataclass(frozen=True)
class Analysis:
    """The facts about a network, each computed when it is first asked for.

    Parameters and buffers are those of the whole module, as `state_dict` has them,
    auxiliary heads included. MACs and operations are those of the setting's mode.
    Depth and receptive field are those of inference, where auxiliary heads do not run.
    `auxiliary` has the heads' own figures, so that ``params - auxiliary.params`` is
    what inference needs; its MACs and operations are a part of the whole in training,
    and in inference what would come on top of it.

    Attributes:
        network: what was analysed.
        setting: how it is run.
    """

    network: Network
    setting: Setting

    @cached_property
    def graph(self) -> Graph:
        """Its steps."""
        return flatten(self.network)

    @cached_property
    def inputs(self) -> tuple[Terminal, ...]:
        """Its inputs, in the order of `forward`'s arguments."""
        return tuple(_terminal(port, self.graph) for port in self.network.inputs)

    @cached_property
    def outputs(self) -> tuple[Terminal, ...]:
        """Its outputs, the main one first."""
        return tuple(_terminal(port, self.graph) for port in self.network.outputs)

    @cached_property
    def costs(self) -> Costs:
        """What every layer costs, and the whole."""
        run = self.setting
        training = run.mode == "train"
        return costs(self.graph, batch=run.batch, dtype=run.dtype, training=training)

    @property
    def cost(self) -> Cost:
        """Cost of the whole, its operations for one sample."""
        return self.costs.whole.cost

    @property
    def auxiliary(self) -> Cost:
        """Cost of what only serves outputs of the training mode."""
        return self.costs.auxiliary.cost

    @cached_property
    def depth(self) -> int:
        """Weighted layers on the longest path to an output."""
        return depth(self.graph)

    @cached_property
    def memory(self) -> Memory:
        """Bytes for a batch."""
        run = self.setting
        return memory(
            self.graph,
            self.cost,
            batch=run.batch,
            dtype=run.dtype,
            optimizer=run.optimizer,
            recompute=run.recompute,
        )

    @cached_property
    def counts(self) -> Count | None:
        """What the setting's tool counts; see `conventions.count`."""
        tool, training = self.setting.tool, self.setting.mode == "train"
        return None if tool is None else count(self.graph, tool, training)

    @cached_property
    def _saved(self) -> dict[str, list[dict[str, str | int]]]:
        return self.memory.saved_by_layer()

    @cached_property
    def fits(self) -> Fits | None:
        """The largest batches for the setting's budget."""
        budget = self.setting.budget
        if budget is None:
            return None
        memory = self.memory
        return Fits(budget, memory.fits(budget), memory.fits(budget, training=False))

    @cached_property
    def _windows(self) -> list[Window | None]:
        return windows(self.graph)

    @cached_property
    def _fields(self) -> dict[int, Field]:
        return fields(self.graph, self._windows)

    @cached_property
    def _reports(self) -> dict[int, ReceptiveField]:
        return reports(self.graph, self._fields)

    @cached_property
    def receptive_field(self) -> ReceptiveField | None:
        """That of the last feature map on the way to the main output.

        A map whose units see the whole input by their nature does not count. It is None
        if the first input is a vector.
        """
        main = main_value(self.graph, self._fields)
        return None if main is None else self._reports[main]

    @cached_property
    def smallest_input(self) -> Smallest | None:
        """The smallest first input that fits; None if that is a vector."""
        return smallest(self.graph, training=self.setting.mode == "train")

    @cached_property
    def coverage(self) -> Coverage | None:
        """What is read of the first input; None if that is a vector."""
        return coverage(self.graph, self._windows)

    @cached_property
    def misalignments(self) -> dict[int, Misalignment]:
        """The layers that join maps that look at different places, by value."""
        return alignment(self.graph, self._fields)

    @cached_property
    def paths(self) -> GradientPaths:
        """The paths of the gradient."""
        return paths(self.graph)

    @cached_property
    def time(self) -> Roofline | None:
        """How long a batch takes at least on the setting's device."""
        device = self.setting.device
        return None if device is None else roofline(self.graph, self.costs, device)

    @cached_property
    def layers(self) -> tuple[LayerFacts, ...]:
        """Facts about each layer, in the order in which they run."""
        nodes = self.graph.nodes
        nothing = (None,) * len(nodes)
        counts = self.counts.layers if self.counts else nothing
        times = self.time.layers if self.time else nothing
        return tuple(map(self._layer, nodes, self.costs.layers, counts, times))

    def _layer(
        self, node: Node, work: Work, counted: int | None, time: LayerTime | None
    ) -> LayerFacts:
        value = node.output
        read = self.coverage.layers.get(value) if self.coverage else None
        return LayerFacts(
            step=node.step,
            inputs=node.input_shapes,
            output=node.shape,
            work=work,
            counted=counted,
            receptive_field=self._reports.get(value),
            coverage=read,
            misalignment=self.misalignments.get(value),
            paths=self.paths.of(value),
            time=time,
            # What a layer that is there twice holds stands where it is first.
            saved=[] if node.step.shared else self._saved.get(node.step.path, []),
        )

    @property
    def name(self) -> str:
        """The network's name."""
        return self.network.name

    @property
    def input(self) -> Shape:
        """Shape of the first input."""
        return self.inputs[0].shape

    @property
    def output(self) -> Shape:
        """Shape of the main output."""
        return self.outputs[0].shape

    @property
    def params(self) -> int:
        """Elements of all parameters."""
        return self.cost.params

    @property
    def trainable(self) -> int:
        """Elements of the parameters that an optimiser changes."""
        return self.cost.trainable

    @property
    def buffers(self) -> int:
        """Elements of all buffers, counters included."""
        return self.cost.buffers

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one sample."""
        return self.cost.macs

    @property
    def flops(self) -> int:
        """Operations for one sample: 2 x MACs and all others."""
        return self.cost.flops

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as plain data, as `--json` prints them."""
        field = self.receptive_field
        return {
            "schema": SCHEMA,
            "name": self.name,
            "input": list(self.input),
            "output": list(self.output),
            "inputs": [port.as_dict() for port in self.inputs],
            "outputs": [port.as_dict() for port in self.outputs],
            "params": self.params,
            "trainable": self.trainable,
            "buffers": self.buffers,
            "depth": self.depth,
            "mode": self.setting.mode,
            "macs": self.macs,
            "flops": self.flops,
            "costs": self.costs.as_dict(),
            "auxiliary": {
                "params": self.auxiliary.params,
                "macs": self.auxiliary.macs,
                "flops": self.auxiliary.flops,
            },
            "count": _data(self.counts),
            "receptive_field": field.as_dict() if field else None,
            "smallest_input": _data(self.smallest_input),
            "coverage": _data(self.coverage),
            "alignment": [found.as_dict() for found in self.misalignments.values()],
            "gradient_paths": self.paths.as_dict(),
            "time": _data(self.time),
            "memory": self.memory.as_dict(),
            "fits": _data(self.fits),
            "layers": [layer.as_dict() for layer in self.layers],
        }


def analyze(
    network: Network,
    *,
    batch: int = 1,
    dtype: str = "float32",
    optimizer: str = "sgd",
    mode: str = "eval",
    recompute: bool = False,
    tool: str | None = None,
    device: Device | None = None,
    budget: int | None = None,
) -> Analysis:
    """Return the facts about a network.

    Args:
        network: what to analyse.
        batch: samples at a time, for memory and bytes moved.
        dtype: of parameters and activations, for memory and bytes moved.
        optimizer: whose state the memory counts.
        mode: whose operations are counted, ``eval`` or ``train``.
        recompute: whether blocks are run again in the backward pass, for memory.
        tool: one whose way of counting is applied, too, of `conventions.TOOLS`.
        device: whose time is estimated.
        budget: bytes of memory, for which to look for the largest batch.

    Raises:
        ValueError: if the batch, dtype, optimiser, mode or tool is none, or if the
            device has no rate for the dtype.
    """
    if batch < 1:
        raise ValueError(f"batch must be 1 or more, not {batch}")
    for what, value, known in (
        ("dtype", dtype, ITEM_BYTES),
        ("optimizer", optimizer, OPTIMIZERS),
        ("mode", mode, MODES),
        ("tool", tool or "mac", TOOLS),
    ):
        if value not in known:
            raise ValueError(f"{what} must be one of {', '.join(known)}, not {value}")
    if device is not None:
        device.matrix_rate(dtype)
    setting = Setting(batch, dtype, optimizer, mode, recompute, tool, device, budget)
    return Analysis(network, setting)


def _terminal(port: Port, graph: Graph) -> Terminal:
    return Terminal(port.name, graph.shapes[port.value], port.training)


def _data(
    facts: Smallest | Coverage | Count | Roofline | Fits | None,
) -> dict[str, Any] | None:
    return None if facts is None else facts.as_dict()
