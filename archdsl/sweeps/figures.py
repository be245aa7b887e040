"""Computing the figures of a point: only those that are needed, cheap ones first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast

from archdsl.api import as_shape, as_value
from archdsl.diagnostics import SpecError
from archdsl.elaborate import elaborate
from archdsl.elaborate.layer_counts import (
    CountedLines,
    LayerCounts,
    SharedLayers,
    count_layers,
)
from archdsl.elaborate.placed import Use
from archdsl.figures import COMPARED, Figure
from archdsl.figures import FIGURES as ALL
from archdsl.ir import Network
from archdsl.ir.graph import Graph
from archdsl.passes.analysis import Analysis, analyze
from archdsl.passes.costs import Cost, cost_of, total
from archdsl.passes.memory import Memory
from archdsl.passes.receptive import ReceptiveField
from archdsl.passes.setting import Setting, checked
from archdsl.syntax.loader import LoadedFile
from archdsl.values import Shape

from .axes import INPUT, PRESET, Axis, indices, shown_point
from .figure_cache import DepthCache, ReceptiveFieldCache
from .where import Condition

FIGURES: Final[Mapping[str, Figure]] = {name: ALL[name] for name in COMPARED}
# Figures that need no graph, and so take hardly any time.
QUICK: Final = frozenset(n for n, each in FIGURES.items() if each.depends != "graph")

# A word for each of a point's figures that is a bound, then the figures, with None for
# one that has no value or was not needed; or the code of the first error, if the
# language refuses the network.
PointRow = tuple[int | float | str | None, ...] | str


class Task(NamedTuple):
    """Everything that determines the rows of a sweep; it can be pickled.

    Attributes:
        module: the loaded spec.
        axes: the axes.
        preset: the preset of the spec, if presets do not vary.
        params: values of other parameters.
        input: shape of the input, if it does not vary and is not the spec's.
        setting: batch, dtype and optimizer for memory.
        figures: the figures to compute.
        condition: text of a condition that needs no graph. Points that do not
            satisfy it are not analysed further.
        trained: figures of training, which come after the others in a row.
    """

    module: LoadedFile
    axes: tuple[Axis, ...]
    preset: str | None
    params: Mapping[str, object]
    input: Shape | None
    setting: Mapping[str, Any]
    figures: tuple[str, ...]
    condition: str | None
    trained: tuple[str, ...] = ()

    @property
    def bounded(self) -> tuple[str, ...]:
        """Those of the figures that can be bounds."""
        return tuple([name for name in self.figures if FIGURES[name].bounded])

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the figures of a row, which follow a word for each bound."""
        return (*self.figures, *self.trained)


class Evaluator:
    """Computes rows one after the other, and caches results that they share."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._memo = SharedLayers()
        self._values = [
            [_value(task.module, axis.name, value) for value in axis.values]
            for axis in task.axes
        ]
        self._params = {n: as_value(task.module, v) for n, v in task.params.items()}
        self._condition = Condition(task.condition) if task.condition else None
        self._quick = [name for name in task.figures if name in QUICK]
        self._bounded = task.bounded
        self._needs_graph = len(self._quick) < len(task.figures)
        self._how = checked(Setting(**task.setting))
        self._depths, self._fields = DepthCache(), ReceptiveFieldCache()

    def row(self, point: int) -> PointRow:
        """Return the figures of a point."""
        chosen = self._chosen(point)
        analysis: Totals | Analysis | None = None
        try:
            # If the graph is needed anyway, all figures come from it.
            if not self._needs_graph or self._condition is not None:
                counts = count_layers(self.task.module, self._memo, **chosen)
                if counts is not None:
                    analysis = Totals(counts, self._how, self._depths, self._fields)
            if analysis is None:
                analysis = analyze(self._elaborate(chosen), **self.task.setting)
        except SpecError as error:
            return error.diagnostics[0].code
        found = {name: _number(FIGURES[name], analysis) for name in self._quick}
        if self._needs_graph and self._fits(point, found):
            if isinstance(analysis, Totals):
                analysis = analyze(self._elaborate(chosen), **self.task.setting)
            for name in self.task.figures:
                if name not in found:
                    found[name] = _number(FIGURES[name], analysis)
        bounds = [self._bound(name, found, analysis) for name in self._bounded]
        return (*bounds, *[found.get(name) for name in self.task.figures])

    def _bound(
        self, name: str, found: Mapping[str, Any], analysis: Analysis | Totals
    ) -> str | None:
        """Return whether a figure of a point is only a bound, if it has the figure."""
        return None if found.get(name) is None else FIGURES[name].bound(analysis)

    def network(self, point: int) -> Network:
        """Return the network of a point.

        Raises:
            SpecError: if the language refuses it.
        """
        return self._elaborate(self._chosen(point))

    def refusal(self, point: int) -> SpecError | None:
        """Return why the language refuses a point, if it does."""
        try:
            self.network(point)
        except SpecError as error:
            return error
        return None

    def _fits(self, point: int, found: Mapping[str, Any]) -> bool:
        if self._condition is None:
            return True
        return self._condition.holds({**found, **shown_point(self.task.axes, point)})

    def _chosen(self, point: int) -> dict[str, Any]:
        """Return the arguments of `elaborate` for a point."""
        params = dict(self._params)
        found: dict[str, Any] = {
            "preset": self.task.preset,
            "input": self.task.input,
            "params": params,
        }
        axes = self.task.axes
        for axis, values, at in zip(
            axes, self._values, indices(axes, point), strict=True
        ):
            into = found if axis.name in (INPUT, PRESET) else params
            into[axis.name] = values[at]
        return found

    def _elaborate(self, chosen: Mapping[str, Any]) -> Network:
        return elaborate(self.task.module, symbolic=False, memo=self._memo, **chosen)


def _value(module: LoadedFile, name: str, value: Any) -> Any:
    """Return a value as `elaborate` accepts it."""
    if name == INPUT:
        return as_shape(value)
    return value if name == PRESET else as_value(module, value)


def _number(figure: Figure, analysis: Analysis | Totals) -> int | None:
    """Return a figure; the smaller of two if it has one for each axis."""
    found = figure.of(analysis)
    return min(found) if isinstance(found, tuple) else found


class Totals:
    """The figures of an `Analysis` that need no graph, under the same names.

    It lacks those that need the graph, so none can be computed from incomplete data.
    """

    def __init__(
        self,
        counts: LayerCounts,
        setting: Setting,
        depths: DepthCache,
        fields: ReceptiveFieldCache,
    ) -> None:
        self._counts = counts
        self._setting = setting
        self._depths = depths
        self._fields = fields
        cost, self.number_of_layers = _total(counts.lines)
        self.cost = cost
        self.params, self.trainable = cost.params, cost.trainable
        self.buffers, self.macs, self.flops = cost.buffers, cost.macs, cost.flops

    @property
    def depth(self) -> int:
        """As `Analysis.depth`."""
        return self._depths.figure(self._counts)

    @property
    def receptive_field(self) -> ReceptiveField | None:
        """As `Analysis.receptive_field`."""
        return self._fields.figure(self._counts)

    @property
    def memory(self) -> Memory:
        """As `Analysis.memory`, without the graph."""
        how, graph = self._setting, cast(Graph, None)
        return Memory(
            graph, self.cost, how.batch, how.dtype, how.optimizer, how.recompute
        )


def _total(lines: CountedLines) -> tuple[Cost, int]:
    """Return the cost of all layers, and their number.

    Auxiliary heads have no operations in inference.
    """
    known = lines.facts.get(_total)
    if known is None:
        costs, count = [], 0
        for part in lines.parts:
            if isinstance(part, CountedLines):
                cost, number = _total(part)
                count += number
            else:
                cost = part.facts.get(_cost) or _cost(part)
                count += 1
            costs.append(cost)
        known = lines.facts[_total] = total(costs), count
    found: tuple[Cost, int] = known
    return found


def _cost(use: Use) -> Cost:
    op, shapes = use.op, use.input_shapes
    tensors = () if use.shared else op.tensors(*shapes)
    cost = cost_of(op, shapes, use.shape, tensors)
    use.facts[_cost] = cost = cost.sparing(cost) if use.training else cost
    return cost
