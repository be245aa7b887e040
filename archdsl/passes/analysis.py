"""All figures of a network, as `archdsl analyze` reports them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, Unpack

from archdsl.display import shown, shown_as
from archdsl.figures import OF_A_LAYER
from archdsl.ir import Network, Port, Step
from archdsl.ir.graph import Graph, Node, flatten
from archdsl.torch.counting import Count, count
from archdsl.values import Shape, Window, show_shape

from .costs import Cost, Costs, Work, costs
from .depth import depth
from .memory import Memory, memory
from .plain import Groups, Plain, all_values
from .receptive import ReceptiveField, UnitFields, fields, main_value, reports, windows
from .setting import Given, Setting, checked

# The others are imported on demand.
if TYPE_CHECKING:
    import pandas

    from .alignment import Misalignment
    from .coverage import Coverage, LayerCoverage
    from .paths import GradientPaths
    from .roofline import LayerTime, Roofline
    from .smallest import Smallest

# Increased whenever a key of `Analysis.as_dict` is removed or changes its meaning.
SCHEMA: Final = 1


@dataclass(frozen=True, slots=True)
class LayerFacts:
    """The figures of one layer, each computed on demand.

    Attributes:
        whole: the analysis that it belongs to.
        node: the layer in the graph.
        place: its index in the graph.
    """

    whole: Analysis
    node: Node
    place: int

    def __repr__(self) -> str:
        figures = f"{self.params:,} params, {self.macs:,} MACs"
        kind, output = self.node.op.label(), show_shape(self.output)
        return f"<LayerFacts {self.name}: {kind} -> {output}, {figures}>"

    @property
    def step(self) -> Step:
        """The layer in its place."""
        return self.node.step

    @property
    def inputs(self) -> tuple[Shape, ...]:
        """Shapes of its inputs."""
        return self.node.input_shapes

    @property
    def output(self) -> Shape:
        """Shape of its output."""
        return self.node.shape

    @property
    def name(self) -> str:
        """The layer's path."""
        return self.node.step.path

    @property
    def kind(self) -> str:
        """The word of its kind."""
        return self.node.op.word

    @property
    def work(self) -> Work:
        """Its costs in the mode that is analysed."""
        return self.whole.costs.layers[self.place]

    @property
    def cost(self) -> Cost:
        """Parameters, buffers and operations."""
        return self.work.cost

    @property
    def params(self) -> int:
        """Number of its parameters."""
        return self.cost.params

    @property
    def macs(self) -> int:
        """Its multiply-accumulates for one sample."""
        return self.cost.macs

    @property
    def counted(self) -> int | None:
        """The count of the setting's tool, if there is one."""
        counts = self.whole.counts
        return None if counts is None else counts.layers[self.place]

    @property
    def receptive_field(self) -> ReceptiveField | None:
        """Receptive field of its output's units in the first input.

        None if the output does not depend on that input, or the input is a vector.
        """
        return self.whole.receptive_fields.get(self.node.output)

    @property
    def coverage(self) -> LayerCoverage | None:
        """What it reads of its input; None if that is a vector."""
        whole = self.whole.coverage
        return whole.layers.get(self.node.output) if whole else None

    @property
    def misalignment(self) -> Misalignment | None:
        """How its inputs are misaligned, if they are."""
        return self.whole.misalignments.get(self.node.output)

    @property
    def paths(self) -> dict[str, Any] | None:
        """Figures of the gradient's paths from the loss to it, if there are any."""
        return self.whole.paths.of(self.node.output)

    @property
    def time(self) -> LayerTime | None:
        """Lower bound of its time on the setting's device, if it runs there."""
        time = self.whole.time
        return None if time is None else time.layers[self.place]

    @property
    def saved(self) -> list[dict[str, str | int]]:
        """The tensors that autograd keeps and for which it is the first holder."""
        # Tensors that a layer keeps at several uses are listed at the first.
        return [] if self.step.shared else self.whole.saved.get(self.name, [])

    @property
    def facts(self) -> Plain[LayerFacts]:
        """The result of `as_dict`, computed on demand."""
        return Plain(self, _OF_LAYER)

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as plain data."""
        return all_values(self, _OF_LAYER)

    def _place(self) -> dict[str, Any]:
        step = self.node.step
        return {
            "name": step.path,
            "kind": step.op.word,
            "line": step.span.line,
            "file": step.span.source.name,
            "training": step.training,
            "input": list(self.inputs[0]),
            "inputs": [list(shape) for shape in self.inputs],
            "output": list(self.output),
        }

    def _figures(self) -> dict[str, Any]:
        return {name: getattr(self.cost, name) for name in OF_A_LAYER}


class Terminal(NamedTuple):
    """An input or output of the network.

    Attributes:
        name: its name in the spec.
        shape: its shape.
        training: whether it only exists in training mode.
    """

    name: str
    shape: Shape
    training: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the terminal as plain data."""
        return {**self._asdict(), "shape": list(self.shape)}


class Fits(NamedTuple):
    """The largest batches whose peaks fit into a memory; 0 if not even one sample fits.

    Attributes:
        budget_bytes: size of the memory.
        training_batch: for a training step.
        inference_batch: for a forward pass of inference.
    """

    budget_bytes: int
    training_batch: int
    inference_batch: int

    def as_dict(self) -> dict[str, int]:
        """Return the sizes as plain data."""
        return self._asdict()


@dataclass(frozen=True)
class Analysis:
    """The figures of a network, each computed on first use.

    Parameters and buffers are those of the whole module, as in `state_dict`, including
    auxiliary heads. MACs and operations are those of the setting's mode. Depth and
    receptive field are those of inference, where auxiliary heads do not run.
    `auxiliary` has the figures of the heads alone, so ``params - auxiliary.params`` is
    what inference needs. Its MACs and operations are part of the total in training; in
    inference, they are what the heads would add to it.

    Attributes:
        network: the network.
        setting: how it is run.
    """

    network: Network
    setting: Setting

    def __repr__(self) -> str:
        figures = f"{self.params:,} params, {self.macs:,} MACs, depth {self.depth}"
        return f"<Analysis of {self.name}: {figures}>"

    def __str__(self) -> str:
        return shown(self)

    @cached_property
    def graph(self) -> Graph:
        """Its graph."""
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
        """The costs of every layer, and of the network."""
        run = self.setting
        training = run.mode == "train"
        return costs(self.graph, batch=run.batch, dtype=run.dtype, training=training)

    @property
    def cost(self) -> Cost:
        """Cost of the network, with operations for one sample."""
        return self.costs.whole.cost

    @property
    def auxiliary(self) -> Cost:
        """Cost of the layers that are only needed for outputs of the training mode."""
        return self.costs.auxiliary.cost

    @cached_property
    def depth(self) -> int:
        """Weighted layers on the longest path to an output."""
        return depth(self.graph)

    @cached_property
    def memory(self) -> Memory:
        """Memory for a batch."""
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
        """The count of the setting's tool; see `conventions.count`."""
        tool, training = self.setting.tool, self.setting.mode == "train"
        return None if tool is None else count(self.graph, tool, training)

    @cached_property
    def saved(self) -> dict[str, list[dict[str, str | int]]]:
        """The tensors for which each layer is the first holder, by its path."""
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
    def _fields(self) -> dict[int, UnitFields]:
        return fields(self.graph, self._windows)

    @cached_property
    def receptive_fields(self) -> dict[int, ReceptiveField]:
        """The field of every value that depends on the first input."""
        return reports(self.graph, self._fields)

    @cached_property
    def receptive_field(self) -> ReceptiveField | None:
        """Receptive field of the last feature map on the way to the main output.

        The output of a global pool does not count as one. None if the first input is a
        vector.
        """
        main = main_value(self.graph, self._fields)
        return None if main is None else self.receptive_fields[main]

    @cached_property
    def smallest_input(self) -> Smallest | None:
        """The smallest first input that fits; None if that is a vector."""
        from .smallest import smallest

        return smallest(
            self.graph, self._windows, training=self.setting.mode == "train"
        )

    @cached_property
    def coverage(self) -> Coverage | None:
        """Which positions of the first input are read; None if that is a vector."""
        from .coverage import coverage

        return coverage(self.graph, self._windows)

    @cached_property
    def misalignments(self) -> dict[int, Misalignment]:
        """The layers that join misaligned maps, by value."""
        from .alignment import alignment

        return alignment(self.graph, self._fields)

    @cached_property
    def paths(self) -> GradientPaths:
        """The paths of the gradient."""
        from .paths import paths

        return paths(self.graph)

    @cached_property
    def time(self) -> Roofline | None:
        """Lower bound of the time for a batch on the setting's device."""
        device = self.setting.device
        if device is None:
            return None
        from .roofline import roofline

        return roofline(self.graph, self.costs, device)

    @cached_property
    def layers(self) -> tuple[LayerFacts, ...]:
        """The figures of each layer, in execution order."""
        nodes = enumerate(self.graph.nodes)
        return tuple([LayerFacts(self, node, place) for place, node in nodes])

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
    def number_of_layers(self) -> int:
        """Number of layers, including those of auxiliary heads."""
        return len(self.graph.nodes)

    @property
    def params(self) -> int:
        """Number of parameters."""
        return self.cost.params

    @property
    def trainable(self) -> int:
        """Number of parameters that are trained."""
        return self.cost.trainable

    @property
    def buffers(self) -> int:
        """Number of elements in buffers, including counters."""
        return self.cost.buffers

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one sample."""
        return self.cost.macs

    @property
    def flops(self) -> int:
        """Operations for one sample: 2 x MACs plus all others."""
        return self.cost.flops

    @property
    def facts(self) -> Plain[Analysis]:
        """The result of `as_dict`, computed on demand, as are its parts."""
        return Plain(self, {**_OF_NETWORK, **_LAZY})

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as plain data, as `--json` prints them."""
        return all_values(self, _OF_NETWORK)

    def _repr_html_(self) -> str | None:
        """Return the tables that a notebook shows."""
        return shown_as(self, "html")

    def frame(self) -> pandas.DataFrame:
        """Return a pandas DataFrame with one row per layer, indexed by path.

        Shapes are tuples without the batch. Params, buffers, MACs and FLOPs are for one
        sample; bytes are for the setting's batch. `field` is the size of the largest
        receptive field, None if there is none. The columns `counted` and `seconds`
        exist if the setting has a tool or a device.

        Raises:
            ImportError: if pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            message = '`frame` needs pandas: pip install "archdsl[frame]"'
            raise ImportError(message, name="pandas") from None
        names = pandas.Index([layer.name for layer in self.layers], name="layer")
        return pandas.DataFrame([self._record(one) for one in self.layers], index=names)

    def _record(self, layer: LayerFacts) -> dict[str, Any]:
        """Return the row of a layer."""
        work, field, time = layer.work, layer.receptive_field, layer.time
        record = {
            "kind": layer.kind,
            "label": layer.node.op.label(),
            "training": layer.step.training,
            "input": tuple(map(int, layer.inputs[0])),
            "output": tuple(map(int, layer.output)),
            "params": int(layer.params),
            "trainable": int(layer.cost.trainable),
            "buffers": int(layer.cost.buffers),
            "macs": int(layer.macs),
            "flops": int(layer.cost.flops),
            "bytes_read": int(work.traffic.read),
            "bytes_written": int(work.traffic.written),
            "saved_bytes": sum(int(tensor["bytes"]) for tensor in layer.saved),
            "field": None if field is None else tuple(field.size),
        }
        if self.setting.tool is not None:
            record["counted"] = layer.counted
        if self.setting.device is not None:
            record["seconds"] = None if time is None else time.seconds
        return record

    def _ports(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "name": self.name,
            "input": list(self.input),
            "output": list(self.output),
            "inputs": [port.as_dict() for port in self.inputs],
            "outputs": [port.as_dict() for port in self.outputs],
        }

    def _sizes(self) -> dict[str, Any]:
        return {
            "params": self.params,
            "trainable": self.trainable,
            "buffers": self.buffers,
        }

    def _operations(self) -> dict[str, Any]:
        heads = self.auxiliary
        return {
            "mode": self.setting.mode,
            "macs": self.macs,
            "flops": self.flops,
            "costs": self.costs.as_dict(),
            "auxiliary": {
                "params": heads.params,
                "macs": heads.macs,
                "flops": heads.flops,
            },
        }


def analyze(network: Network, **setting: Unpack[Given]) -> Analysis:
    """Return the figures of a network.

    Args:
        network: the network.
        **setting: how it is run; see `Setting`.

    Raises:
        ValueError: if the batch, dtype, optimiser, mode or tool is invalid, or if the
            device has no rate for the dtype.
    """
    return Analysis(network, checked(Setting(**setting)))


def _terminal(port: Port, graph: Graph) -> Terminal:
    return Terminal(port.name, graph.shapes[port.value], port.training)


class _Facts(Protocol):
    def as_dict(self) -> dict[str, Any]: ...


def _data(facts: _Facts | None) -> dict[str, Any] | None:
    return None if facts is None else facts.as_dict()


# Values that are computed together, by their keys, in the order of the JSON.
_OF_LAYER: Final[Groups[LayerFacts]] = {
    (
        *("name", "kind", "line", "file", "training", "input", "inputs", "output"),
    ): LayerFacts._place,
    OF_A_LAYER: LayerFacts._figures,
    (
        *("ops", "ops_per_batch", "batch_flops", "backward_macs"),
        *("bytes_read", "bytes_written", "intensity"),
    ): lambda layer: layer.work.as_dict(),
    ("count",): lambda layer: {"count": layer.counted},
    ("receptive_field",): lambda layer: {
        "receptive_field": _data(layer.receptive_field)
    },
    ("coverage",): lambda layer: {"coverage": _data(layer.coverage)},
    ("alignment",): lambda layer: {"alignment": _data(layer.misalignment)},
    ("gradient_paths",): lambda layer: {"gradient_paths": layer.paths},
    ("saved",): lambda layer: {"saved": layer.saved},
    ("time",): lambda layer: {"time": _data(layer.time)},
}
_OF_NETWORK: Final[Groups[Analysis]] = {
    ("schema", "name", "input", "output", "inputs", "outputs"): Analysis._ports,
    ("params", "trainable", "buffers"): Analysis._sizes,
    ("depth",): lambda facts: {"depth": facts.depth},
    ("mode", "macs", "flops", "costs", "auxiliary"): Analysis._operations,
    ("count",): lambda facts: {"count": _data(facts.counts)},
    ("receptive_field",): lambda facts: {
        "receptive_field": _data(facts.receptive_field)
    },
    ("smallest_input",): lambda facts: {"smallest_input": _data(facts.smallest_input)},
    ("coverage",): lambda facts: {"coverage": _data(facts.coverage)},
    ("alignment",): lambda facts: {
        "alignment": [one.as_dict() for one in facts.misalignments.values()]
    },
    ("gradient_paths",): lambda facts: {"gradient_paths": facts.paths.as_dict()},
    ("time",): lambda facts: {"time": _data(facts.time)},
    ("memory",): lambda facts: {"memory": facts.memory.as_dict()},
    ("fits",): lambda facts: {"fits": _data(facts.fits)},
    ("layers",): lambda facts: {"layers": [layer.as_dict() for layer in facts.layers]},
}
_LAZY: Final[Groups[Analysis]] = {
    ("memory",): lambda facts: {"memory": facts.memory.facts},
    ("layers",): lambda facts: {"layers": [layer.facts for layer in facts.layers]},
}
