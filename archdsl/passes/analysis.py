"""All facts about a network together: what `archdsl analyze` reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from archdsl.ir import Network, Port, Step
from archdsl.values import Shape

from .costs import Cost, cost, total
from .depth import depth
from .graph import Graph, flatten
from .memory import Memory, memory
from .receptive import Field, ReceptiveField, describe, fields, main_value

# Raised by one whenever a key of `Analysis.as_dict` changes its meaning or goes.
SCHEMA: Final = 1


class LayerFacts(NamedTuple):
    """The facts about one layer.

    Attributes:
        step: the layer in its place.
        inputs: shapes of what it reads.
        output: shape of what it makes.
        cost: what it costs.
        receptive_field: what its output's units see of the first input; None if
            the output does not depend on that, or that is a vector.
    """

    step: Step
    inputs: tuple[Shape, ...]
    output: Shape
    cost: Cost
    receptive_field: ReceptiveField | None

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
            "receptive_field": field.as_dict() if field else None,
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


@dataclass(frozen=True, slots=True)
class Analysis:
    """The facts about a network.

    Parameters and buffers are those of the whole module, as `state_dict` has them,
    auxiliary heads included. MACs, operations, depth and receptive field are those
    of inference, where auxiliary heads do not run. `auxiliary` has what the heads
    add, so that ``params - auxiliary.params`` is what inference needs, and
    ``macs + auxiliary.macs`` what a forward pass in training computes.

    Attributes:
        network: what was analysed.
        inputs: its inputs, in the order of `forward`'s arguments.
        outputs: its outputs, the main one first.
        cost: of the whole, for one sample; operations without auxiliary heads.
        auxiliary: of what only serves outputs of the training mode.
        depth: weighted layers on the longest path to an output.
        receptive_field: that of the last spatial map on the way to the main output
            that does not see the whole input by its nature; None if the first input
            is a vector.
        memory: bytes for a batch.
        layers: facts about each layer, in the order in which they run.
    """

    network: Network
    inputs: tuple[Terminal, ...]
    outputs: tuple[Terminal, ...]
    cost: Cost
    auxiliary: Cost
    depth: int
    receptive_field: ReceptiveField | None
    memory: Memory
    layers: tuple[LayerFacts, ...]

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
        """Multiply-accumulates of inference for one sample."""
        return self.cost.macs

    @property
    def flops(self) -> int:
        """Operations of inference for one sample: 2 x MACs and all others."""
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
            "macs": self.macs,
            "flops": self.flops,
            "auxiliary": {
                "params": self.auxiliary.params,
                "macs": self.auxiliary.macs,
                "flops": self.auxiliary.flops,
            },
            "receptive_field": field.as_dict() if field else None,
            "memory": self.memory.as_dict(),
            "layers": [layer.as_dict() for layer in self.layers],
        }


def analyze(
    network: Network,
    *,
    batch: int = 1,
    dtype: str = "float32",
    optimizer: str = "sgd",
) -> Analysis:
    """Return the facts about a network; memory is for a batch of that many samples.

    Raises:
        ValueError: if the batch, dtype or optimiser is none.
    """
    graph = flatten(network)
    costs = [cost(node) for node in graph.nodes]
    heads = [c for c, node in zip(costs, graph.nodes, strict=True) if node.training]
    whole, auxiliary = total(costs), total(heads)
    reports = _receptive_fields(graph)
    main = main_value(graph, reports)
    return Analysis(
        network=network,
        inputs=tuple(_terminal(port, graph) for port in network.inputs),
        outputs=tuple(_terminal(port, graph) for port in network.outputs),
        cost=whole.sparing(auxiliary),
        auxiliary=auxiliary,
        depth=depth(graph),
        receptive_field=None if main is None else reports[main],
        memory=memory(graph, whole, batch=batch, dtype=dtype, optimizer=optimizer),
        layers=tuple(
            LayerFacts(
                node.step, node.input_shapes, node.shape, c, reports.get(node.output)
            )
            for node, c in zip(graph.nodes, costs, strict=True)
        ),
    )


def _terminal(port: Port, graph: Graph) -> Terminal:
    return Terminal(port.name, graph.shapes[port.value], port.training)


def _receptive_fields(graph: Graph) -> dict[int, ReceptiveField]:
    """Return the report of every value's field; many share one."""
    made: dict[tuple[Field, Shape], ReceptiveField] = {}
    reports = {}
    for value, field in fields(graph).items():
        key = field, graph.shapes[value][1:]
        if key not in made:
            made[key] = describe(*key)
        reports[value] = made[key]
    return reports
