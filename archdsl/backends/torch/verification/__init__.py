"""Checks that the analysis of a network agrees with the module built from it.

Everything except receptive fields runs on the meta device, which computes no values, so
that networks of any size take seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from archdsl.backends.torch import ForeignCode, build, foreign_names
from archdsl.ir import Network, Step
from archdsl.ir.graph import Graph, Node
from archdsl.layer import count
from archdsl.limits import MAX_SEEN
from archdsl.passes.analysis import analyze
from archdsl.passes.receptive import AxisField, UnitFields, fields
from archdsl.torch.functions.positions import UnknownDependence
from archdsl.values import AXES, Shape, Tensor, show_shape, sizes

from .dependence import dependencies, ends, maxima, nothing, position_image
from .match import Matched, RunMatch, Steps, layer_paths, match_run
from .trace import Trace, saved_storages, tensors_in, trace

if TYPE_CHECKING:
    from torch import nn

# Samples: batch norm refuses a single one in training.
_BATCH: Final = 2
# Limit for computing with numbers, if tracing without them is inconclusive.
_FEW_BYTES: Final = 1 << 28


class FigureDifference(NamedTuple):
    """A figure on which the analysis and the module disagree.

    Attributes:
        what: the figure, such as ``output shape``.
        path: path of the layer, key of the tensor or name of the output; empty for the
            whole network.
        analysis: its value in the analysis.
        torch: its value in the module.
        step: the layer, if it concerns one.
    """

    what: str
    path: str
    analysis: str
    torch: str
    step: Step | None = None

    def as_dict(self) -> dict[str, str]:
        """Return the difference as plain data."""
        return {
            "what": self.what,
            "name": self.path,
            "analysis": self.analysis,
            "torch": self.torch,
        }

    def __str__(self) -> str:
        where = f" of {self.path}" if self.path else ""
        return f"{self.what}{where}: {self.analysis}, and in torch {self.torch}"


class Agreement(NamedTuple):
    """The result of a comparison with torch.

    Attributes:
        differences: empty if everything agrees.
        compared: how many figures of each type were compared.
        skipped: what could not be compared, with the reason.
    """

    differences: tuple[FigureDifference, ...]
    compared: Mapping[str, int]
    skipped: Mapping[str, str]


def agree(network: Network, *, allow_foreign: bool = False) -> Agreement:
    """Compare the analysis of a network with the module built from it.

    Args:
        network: the network.
        allow_foreign: whether Python modules that the spec's `op`s name may be imported
            and run.

    Raises:
        ImportError: if torch is not installed.
        ForeignImport: if the class of an `op` cannot be imported.
        ForeignCode: if the spec names modules, and `allow_foreign` is not set.
    """
    import torch

    foreign = foreign_names(network)
    if foreign and not allow_foreign:
        raise ForeignCode(foreign)
    try:
        with torch.device("meta"):
            module = build(network, allow_foreign=allow_foreign)
    except ImportError:
        raise
    except Exception as error:
        broken = FigureDifference("module", "", "is made", _said(error))
        return Agreement((broken,), {"module": 1}, {})
    comparison = _Comparison(network, module)
    for part in (
        comparison.tensors,
        comparison.inference,
        comparison.training,
        comparison.saved,
        comparison.dependence,
    ):
        try:
            part()
        except Exception as error:  # whatever a module, or foreign code in it, raises
            comparison.check(part.__name__, "", "runs", _said(error))
    return Agreement(
        tuple(comparison.differences), comparison.compared, comparison.skipped
    )


class _Comparison:
    """One network, compared figure by figure."""

    def __init__(self, network: Network, module: nn.Module) -> None:
        self.network = network
        self.module = module
        self.facts = analyze(network, batch=_BATCH)
        self.graph: Graph = self.facts.graph
        # What the classes of foreign layers keep and read is not known.
        self.foreign = {n.output for n in self.graph.nodes if _is_foreign(n)}
        self.paths = layer_paths(module, self.graph)
        self.functions: dict[int, Steps] = {}
        self.differences: list[FigureDifference] = []
        self.compared: dict[str, int] = {}
        self.skipped: dict[str, str] = {}

    def check(
        self, what: str, path: str, ours: Any, theirs: Any, step: Step | None = None
    ) -> None:
        """Compare one figure."""
        self.compared[what] = self.compared.get(what, 0) + 1
        if ours != theirs:
            self.differences.append(
                FigureDifference(what, path, _shown(ours), _shown(theirs), step)
            )

    # ---- parameters and buffers

    def tensors(self) -> None:
        """Compare the names, shapes and kinds of parameters and buffers."""
        theirs = {name: _of(p) for name, p in self.module.named_parameters()}
        theirs |= {name: _of(b) for name, b in self.module.named_buffers()}
        for node in self.graph.nodes:
            for tensor in () if node.step.shared else node.tensors:
                self._tensor(node, tensor, theirs)
        for name, value in theirs.items():
            self.check("tensor", name, None, value)
        if self.differences:
            return  # the totals would only repeat it
        parameters = list(self.module.parameters())
        trainable = [p for p in parameters if p.requires_grad]
        for name, ours, found in (
            ("parameters", self.facts.params, parameters),
            ("trainable parameters", self.facts.trainable, trainable),
            ("buffers", self.facts.buffers, list(self.module.buffers())),
        ):
            if name not in self.skipped:
                self.check(name, "", ours, sum(t.numel() for t in found))

    def _tensor(self, node: Node, tensor: Tensor, theirs: dict[str, Any]) -> None:
        path = node.step.path
        if tensor.name == "*":
            # For a foreign layer, only the number of elements is known.
            own = [
                name
                for name, (_, trainable, _) in theirs.items()
                if name.startswith(f"{path}.") and trainable == tensor.trainable
            ]
            found = sum(count(theirs.pop(name)[0]) for name in own)
            what = "parameters" if tensor.trainable else "buffers"
            self.check(what, path, tensor.elements, found, node.step)
            return
        key = f"{path}.{tensor.name}" if tensor.name else path
        ours = tuple(int(n) for n in tensor.shape), tensor.trainable, tensor.integer
        self.check("tensor", key, ours, theirs.pop(key, None), node.step)

    # ---- shapes and multiply-accumulates

    def inference(self) -> None:
        """Compare shapes and MACs of inference."""
        self._run(training=False)

    def training(self) -> None:
        """Compare shapes and MACs of training."""
        self._run(training=True)

    def _run(self, *, training: bool) -> None:
        """Compare shapes and MACs of every layer and output in one mode."""
        mode = "train" if training else "eval"
        inputs = self._inputs("meta")
        found = trace(self.module.train(training), inputs, self.paths)
        layers = match_run(self.graph, found, self.functions, training=training)
        facts = analyze(self.network, batch=_BATCH, mode=mode)
        before = len(self.differences)
        for matched in layers.layers:
            self._layer(matched, mode)
        for name in layers.rest:
            self.check(f"call ({mode})", name, "no layer", "a call")
        if len(self.differences) == before:
            self.check(f"MACs ({mode})", "", facts.macs, found.macs / _BATCH)
        self._outputs(found, layers, training)

    def _layer(self, matched: Matched, mode: str) -> None:
        node, path = matched.node, matched.node.step.path
        if matched.number is None:
            self.check(f"layer ({mode})", path, "runs", "no such call", node.step)
            return
        theirs = _sample(matched.shape)
        self.check(f"output shape ({mode})", path, tuple(node.shape), theirs, node.step)
        macs = node.op.macs(node.input_shapes, node.shape)
        self.check(f"MACs ({mode})", path, macs, matched.macs / _BATCH, node.step)

    def _outputs(self, found: Trace, layers: RunMatch, training: bool) -> None:
        mode = "train" if training else "eval"
        ports = [p for p in self.network.outputs if training or not p.training]
        theirs = tensors_in(found.result)
        self.check(f"outputs ({mode})", "", len(ports), len(theirs))
        values = self.graph.shapes
        for port, tensor, number in zip(ports, theirs, found.returned, strict=False):
            ours, shape = tuple(values[port.value]), _sample(tuple(tensor.shape))
            self.check(f"output shape ({mode})", port.name, ours, shape)
            same = number == layers.numbers.get(port.value)
            self.check(f"output ({mode})", port.name, "its value", _is(same))

    # ---- memory

    def saved(self) -> None:
        """Compare what autograd keeps, by distinct storage."""
        if self.foreign:
            self.skipped["saved bytes"] = "it is not known what foreign layers keep"
            return

        ours, theirs = self.facts.memory.saved_bytes, self._kept("meta")
        if ours != theirs and ours <= _FEW_BYTES:
            # On the meta device, some functions return an input instead of a copy.
            theirs = self._kept("cpu")
        if ours != theirs and self._permutes():
            self.skipped["saved bytes"] = (
                f"{ours:,}, and in torch {theirs:,}, which copies maps whose axes are "
                "in another order"
            )
            return
        self.check("saved bytes", "", ours, theirs)

    def _inputs(self, device: str) -> list[Any]:
        import torch

        ports = self.network.inputs
        return [torch.ones(_BATCH, *port.shape, device=device) for port in ports]

    def _kept(self, device: str) -> int:
        """Return the bytes that autograd keeps in training."""
        module = self.module
        if device != "meta":
            module = deepcopy(module).to_empty(device=device)
        with saved_storages(module.train()) as storages:
            result = module(*self._inputs(device))
        del result
        return sum(storage.nbytes() for storage in storages.values())

    def _permutes(self) -> bool:
        """Return whether any value is stored in a different order of its axes."""
        found = False

        def observe(_number: int, tensor: Any) -> None:
            nonlocal found
            found = found or not tensor.is_contiguous()

        trace(self.module, self._inputs("meta"), self.paths, observe=observe)
        return found

    # ---- receptive fields

    def dependence(self) -> None:
        """Compare the receptive field of every unit in the first input."""
        what = "receptive field"
        known = fields(self.graph)
        if not known:
            self.skipped[what] = "the first input is a vector"
            return
        seen = sum(math.prod(sizes(node.shape)) for node in self.graph.nodes)
        if seen > MAX_SEEN:
            self.skipped[what] = (
                f"its maps have {seen:,} positions, but at most {MAX_SEEN:,} can be "
                "compared; a smaller --input has fewer"
            )
            return
        try:
            differ = self._differ(known, self._seen())
        except UnknownDependence as error:
            self.skipped[what] = f"it is not known what `{error}` reads"
            return
        nodes = [node for node in self.graph.nodes if node.output in known]
        for node in nodes:
            path = node.step.path
            ours, theirs = differ.get(node.output, ("", ""))
            self.check(what, path, ours, theirs, node.step)

    def _seen(self) -> dict[int, SeenUnits]:
        """Return the receptive fields of the units of every value in the module."""
        first, *others = [port.shape for port in self.network.inputs]
        axes = len(sizes(first))
        inputs = [position_image(first), *(nothing(shape, axes) for shape in others)]
        module = self.module.eval()
        # The network runs its auxiliary heads, but its layers run as in inference, so
        # that nothing is random.
        module.training = True
        summaries: dict[int, Any] = {}

        def observe(number: int, tensor: Any) -> None:
            if number not in summaries:
                summaries[number] = maxima(tensor)

        found = trace(module, inputs, self.paths, dependencies, observe)
        numbers = match_run(self.graph, found, self.functions, training=True).numbers
        shapes = self.graph.shapes
        return {
            value: ends(summaries[number], shapes[value], axes)
            for value, number in numbers.items()
            if len(sizes(shapes[value])) in (0, axes)
        }

    def _differ(
        self, known: Mapping[int, UnitFields], seen: Mapping[int, SeenUnits]
    ) -> dict[int, tuple[str, str]]:
        """Return the fields that differ in the analysis and the module, by value."""
        bounds = set(self.foreign)
        found: dict[int, tuple[str, str]] = {}
        image = sizes(self.network.inputs[0].shape)
        names = [letter.lower() for letter in AXES[len(image)]]
        for node in self.graph.nodes:
            value = node.output
            if not bounds.isdisjoint(node.inputs):
                bounds.add(value)
            if value not in known or value not in seen:
                continue
            field = known[value]
            if value in bounds:
                field = field._replace(exact=False)
            along = zip(names, field.axes, seen[value], strict=True)
            for name, axis, units in along:
                differs = _first_difference(field, axis, units)
                if differs and value not in found:
                    unit, ours, theirs = differs
                    found[value] = f"{name}[{unit}] sees {ours}", theirs
        return found


# Along each axis, the first and last position that each unit sees.
SeenUnits = tuple[list[tuple[float, float]], ...]


def _first_difference(
    field: UnitFields, axis: AxisField, units: list[tuple[float, float]]
) -> tuple[int, str, str] | None:
    """Return the first unit along an axis whose receptive field differs.

    Args:
        field: the map's field in the analysis.
        axis: the field along that axis.
        units: the first and last position that each unit sees in the module.
    """
    for unit, (first, last) in enumerate(units):
        seen = axis.visible(unit)
        low, high = seen or (1, 0)
        if first > last:
            # Even after a layer that sees everything, units can lie in the padding.
            fine = seen is None or field.whole or not field.exact
        else:
            fine = low <= first and last <= high
            if field.exact:
                fine = (low, high) == (first, last)
        if not fine:
            return unit, _interval(low, high), _interval(first, last)
    return None


def _interval(first: float, last: float) -> str:
    return "nothing" if first > last else f"{first:.0f} to {last:.0f}"


# ---- details --------------------------------------------------------------------


def _of(tensor: Any) -> tuple[Shape, bool, bool]:
    """Return the properties of a parameter or buffer: shape, trainable, integer."""
    return tuple(tensor.shape), tensor.requires_grad, not tensor.is_floating_point()


def _is_foreign(node: Node) -> bool:
    """Return whether a spec's `op` declares the layer."""
    return not type(node.op).__module__.startswith("archdsl.ops.")


def _said(error: Exception) -> str:
    """Return the message of an exception on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _sample(shape: Shape) -> Shape:
    """Return the shape of one sample of a batch; other shapes are returned whole."""
    return shape[1:] if shape[:1] == (_BATCH,) else shape


def _is(same: bool) -> str:
    return "its value" if same else "another value"


def _shown(value: Any) -> str:
    """Return a figure in readable form."""
    if isinstance(value, int | float):
        return f"{int(value) if value == int(value) else value:,}"
    if value is None:
        return "nothing"
    if isinstance(value, tuple) and len(value) == 3 and isinstance(value[0], tuple):
        shape, trainable, integer = value
        what = "parameter" if trainable else "counter" if integer else "buffer"
        return f"{what} of {show_shape(shape) or 'one number'}"
    return show_shape(value) if isinstance(value, tuple) else str(value)
