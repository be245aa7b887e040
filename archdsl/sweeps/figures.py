"""The figures of one point: only those that are needed, the cheap ones first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from archdsl.api import as_shape, as_value
from archdsl.diagnostics import SpecError
from archdsl.elaborate import elaborate
from archdsl.elaborate.tally import Tallies, Use, tally
from archdsl.ir import Network, Step, unchecked
from archdsl.passes.analysis import Analysis, analyze
from archdsl.passes.costs import cost
from archdsl.passes.graph import Node
from archdsl.source import Source, Span
from archdsl.syntax.loader import Module
from archdsl.values import Shape

from .axes import INPUT, PRESET, Axis, places
from .where import Condition

# Sums over layers, which do not need the graph.
SUMS: Final[Mapping[str, str]] = {
    "params": "elements of all parameters",
    "trainable": "elements of the parameters that an optimiser changes",
    "buffers": "elements of all buffers, counters included",
    "macs": "multiply-accumulates of inference for one sample",
    "flops": "operations of inference for one sample: 2 x MACs and all others",
    "layers": "number of layers, auxiliary heads included",
}
# Attributes of an analysis, or of its memory.
ANALYSED: Final[Mapping[str, str]] = {
    "depth": "weighted layers on the longest path to an output",
    "receptive_field": "positions that a unit of the last map sees, all of the input's "
    "if it sees the whole, along the axis with fewer of them",
    "local_field": "the same along local paths alone",
    "param_bytes": "bytes of all parameters",
    "buffer_bytes": "bytes of all buffers",
    "gradient_bytes": "bytes of gradients",
    "optimizer_bytes": "bytes that the optimiser keeps",
    "saved_bytes": "bytes that autograd keeps in training",
    "forward_peak_bytes": "most bytes of activations at once in inference",
    "inference_bytes": "parameters, buffers and the peak of inference",
    "training_bytes": "all that is held at the end of a training step's forward pass",
    "training_peak_bytes": "most bytes in use at once in a training step",
}
FIGURES: Final[Mapping[str, str]] = {**SUMS, **ANALYSED}

# The figures of a point, None where one has no value or was not needed; or the code
# of the first error, where the language refuses the network.
Row = tuple[int | float | None, ...] | str


class Task(NamedTuple):
    """Everything that determines the rows of a sweep; it can be sent to another
    process.

    Attributes:
        module: the loaded spec.
        axes: what varies.
        preset: the preset of the spec, if that does not vary.
        params: values of other parameters.
        input: shape of the input, if it is fixed and not that of the spec.
        setting: batch, dtype and optimizer for memory.
        figures: the figures to compute.
        condition: text of a condition that only needs axes and sums. Points that do not
            satisfy it are not analysed further.
    """

    module: Module
    axes: tuple[Axis, ...]
    preset: str | None
    params: Mapping[str, object]
    input: Shape | None
    setting: Mapping[str, Any]
    figures: tuple[str, ...]
    condition: str | None


class Evaluator:
    """Computes rows, one after the other, and keeps what they share."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._memo = Tallies()
        self._values = [
            [_value(task.module, axis.name, value) for value in axis.values]
            for axis in task.axes
        ]
        self._params = {n: as_value(task.module, v) for n, v in task.params.items()}
        self._condition = Condition(task.condition) if task.condition else None
        self._sums = [name for name in task.figures if name in SUMS]
        self._needs_graph = len(self._sums) < len(task.figures)

    def row(self, point: int) -> Row:
        """Return the figures of a point."""
        setting = self._setting(point)
        uses = network = None
        try:
            # If the graph is needed anyway, the layers come from it.
            if not self._needs_graph or self._condition is not None:
                uses = tally(self.task.module, self._memo, **setting)
            if uses is None:
                network = self._elaborate(setting)
                uses = self._uses(network)
        except SpecError as error:
            return error.diagnostics[0].code
        found = _sums(uses)
        if self._needs_graph and self._fits(point, found):
            network = network or self._elaborate(setting)
            analysis = analyze(network, **self.task.setting)
            for name in self.task.figures:
                if name not in found:
                    found[name] = _analysed(analysis, name)
        return tuple([found.get(name) for name in self.task.figures])

    def refusal(self, point: int) -> SpecError | None:
        """Return why the language refuses a point, if it does."""
        try:
            self._elaborate(self._setting(point))
        except SpecError as error:
            return error
        return None

    def _fits(self, point: int, sums: Mapping[str, Any]) -> bool:
        if self._condition is None:
            return True
        axes = self.task.axes
        at = zip(axes, places(axes, point), strict=True)
        shown = {axis.name: axis.shown[place] for axis, place in at}
        return self._condition.holds({**sums, **shown})

    def _setting(self, point: int) -> dict[str, Any]:
        """Return the arguments of `elaborate` for a point."""
        params = dict(self._params)
        found: dict[str, Any] = {
            "preset": self.task.preset,
            "input": self.task.input,
            "params": params,
        }
        axes = self.task.axes
        for axis, values, at in zip(
            axes, self._values, places(axes, point), strict=True
        ):
            into = found if axis.name in (INPUT, PRESET) else params
            into[axis.name] = values[at]
        return found

    def _uses(self, network: Network) -> dict[Use, int]:
        """Return the layers of a network, counted."""
        found: dict[Use, int] = {}
        for step in network.steps():
            use = self._memo.use(
                step.op, step.input_shapes, step.shape, step.training, step.shared
            )
            found[use] = found.get(use, 0) + 1
        return found

    def _elaborate(self, setting: Mapping[str, Any]) -> Network:
        return elaborate(self.task.module, symbolic=False, memo=self._memo, **setting)


def _value(module: Module, name: str, value: Any) -> Any:
    """Return a value as `elaborate` accepts it."""
    if name == INPUT:
        return as_shape(value)
    return value if name == PRESET else as_value(module, value)


def _sums(uses: Mapping[Use, int]) -> dict[str, Any]:
    """Return the sums over all layers; auxiliary heads have no MACs in inference."""
    params = trainable = buffers = macs = flops = layers = 0
    for use, count in uses.items():
        if use.facts is None:
            use.facts = _facts(use)
        own_params, own_trainable, own_buffers, own_macs, own_flops = use.facts
        params += count * own_params
        trainable += count * own_trainable
        buffers += count * own_buffers
        macs += count * own_macs
        flops += count * own_flops
        layers += count
    totals = params, trainable, buffers, macs, flops, layers
    return dict(zip(SUMS, totals, strict=True))


def _facts(use: Use) -> tuple[int, ...]:
    found = cost(_node(use))
    runs = not use.training
    work = (found.macs, found.flops) if runs else (0, 0)
    return found.params, found.trainable, found.buffers, *work


def _node(use: Use) -> Node:
    """Return a layer as it would be in a graph, without its position."""
    inputs = tuple(range(len(use.input_shapes)))
    step = _new_step(
        name="",
        path="",
        labelled=False,
        op=use.op,
        inputs=inputs,
        input_shapes=use.input_shapes,
        output=len(inputs),
        shape=use.shape,
        training=use.training,
        statement=0,
        span=_NOWHERE,
        shared=use.shared,
    )
    return Node(
        step=step,
        op=use.op,
        inputs=inputs,
        input_shapes=use.input_shapes,
        output=len(inputs),
        shape=use.shape,
        training=use.training,
        shortcut=False,
        tensors=use.op.tensors(*use.input_shapes),
    )


def _analysed(analysis: Analysis, name: str) -> int | float | None:
    if name in ("receptive_field", "local_field"):
        field = analysis.receptive_field
        size = field and (field.local if name == "local_field" else field.size)
        return min(size) if size else None
    if name == "depth":
        return analysis.depth
    figure: int = getattr(analysis.memory, name)
    return figure


_new_step = unchecked(Step)
_NOWHERE = Span(Source("<nowhere>", ""), 0, 0)
