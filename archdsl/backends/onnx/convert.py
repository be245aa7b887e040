"""From a network to an ONNX graph, step by step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from archdsl.backends.onnx.forms import FORMS, name_of
from archdsl.backends.onnx.graph import (
    Array,
    FixedSize,
    LayerCall,
    OnnxGraph,
    OnnxValue,
)
from archdsl.diagnostics import Diagnostic, SpecError
from archdsl.ir import Network, Step
from archdsl.values import Last, TorchCall, sizes, without_axes

if TYPE_CHECKING:
    from onnx import NodeProto

# Names of the spatial axes, by their number.
_AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}


@dataclass(frozen=True)
class Converted:
    """A network as an ONNX graph.

    Attributes:
        nodes: in order of execution.
        constants: weights and other constants, by name.
        inputs: name and dimensions of each input; a dimension that may be any has a
            name.
        outputs: the same of each output.
        values: the outputs of the network's steps in the graph: their names, and their
            shapes for the spec's input.
        free: whether height and width may be any.
        fixed_by: the layer that prevents this, and why; empty if no layer does, or if a
            fixed size was asked for.
    """

    nodes: list[NodeProto]
    constants: dict[str, Array]
    inputs: list[tuple[str, list[int | str]]]
    outputs: list[tuple[str, list[int | str]]]
    values: list[OnnxValue]
    free: bool
    fixed_by: str = ""


def convert(
    network: Network,
    weights: Mapping[str, Array],
    *,
    opset: int,
    batch: int | None,
    fixed_size: bool,
) -> Converted:
    """Return a network in evaluation mode as an ONNX graph.

    Args:
        network: the network, whose layers all have a form in ONNX.
        weights: its tensors by key, as float32 arrays; those of layers that only
            training needs may be missing.
        opset: version of the operators.
        batch: the batch size; None for any.
        fixed_size: whether height and width are those of the spec; otherwise they may
            be any if all layers allow that.
    """
    if fixed_size:
        return _Converter(network, weights, opset, batch, False).run()
    try:
        return _Converter(network, weights, opset, batch, True).run()
    except FixedSize as error:
        found = _Converter(network, weights, opset, batch, False).run()
        return replace(found, fixed_by=str(error))


def refuse_unknown(network: Network) -> None:
    """Refuse layers without a form in ONNX.

    Raises:
        SpecError: naming each such kind once.
    """
    found: dict[str, Diagnostic] = {}
    for step in network.steps():
        name = name_of(step.form)
        if step.training or (name in FORMS and not step.op.opaque()):
            continue
        help = "an `op` is Python code, which only the PyTorch module can run"
        if not step.op.opaque():
            help = f"`{name}` is missing in archdsl/backends/onnx/forms.py"
        found.setdefault(
            step.op.word,
            Diagnostic(
                "A0704",
                f"`{step.op.word}` has no form in ONNX",
                step.span,
                label=f"{step.path} here",
                help=help,
            ),
        )
    if found:
        raise SpecError(found.values())


class _Converter:
    def __init__(
        self,
        network: Network,
        weights: Mapping[str, Array],
        opset: int,
        batch: int | None,
        free: bool,
    ) -> None:
        self.inputs = network.inputs
        self.outputs = [port for port in network.outputs if not port.training]
        self.steps = [step for step in network.steps() if not step.training]
        self.batch: int | str = "batch" if batch is None else batch
        self.free = free
        self.graph = OnnxGraph(weights, opset, names=set(weights))
        self.values: dict[int, OnnxValue] = {}

    def run(self) -> Converted:
        for port in self.inputs:
            name = self.graph.fresh(port.name)
            free = self.free and bool(sizes(port.shape))
            self.values[port.value] = OnnxValue(name, port.shape, free)
        # Inputs and outputs take their names first, so no layer can get one of these.
        entries = [self.values[port.value] for port in self.inputs]
        names = {port.name: self.graph.fresh(port.name) for port in self.outputs}
        made = [self._step(step) for step in self.steps]
        renamed = self._name_outputs(names, {value.name for value in entries})
        _rename(self.graph.nodes, renamed)
        several = len(entries) > 1
        outputs = [(names[port.name], self.values[port.value]) for port in self.outputs]
        return Converted(
            nodes=self.graph.nodes,
            constants=self.graph.constants,
            inputs=[
                (one.name, self._dimensions(one, f"{one.name}_" if several else ""))
                for one in entries
            ],
            outputs=[
                (name, self._dimensions(value, f"{name}_")) for name, value in outputs
            ],
            values=[replace(v, name=renamed.get(v.name, v.name)) for v in made],
            free=any(value.free for value in entries),
        )

    def _step(self, step: Step) -> OnnxValue:
        form = step.form
        name = self.graph.fresh(step.path)
        first = len(self.graph.nodes)
        module = form.module or TorchCall("", kwargs=form.kwargs)
        inputs = [self.values[number] for number in step.inputs]
        value = self._call(step, name, inputs, name_of(form), module)
        for call in form.then:
            value = self._call(step, name, [value], without_axes(call.name), call)
        if len(self.graph.nodes) > first:
            # The last node is the layer itself, and has its name.
            last = self.graph.nodes[-1]
            last.output[0] = last.name = name
            value = replace(value, name=name)
        self.values[step.output] = value
        return value

    def _call(
        self,
        step: Step,
        name: str,
        inputs: Sequence[OnnxValue],
        key: str,
        torch: TorchCall,
    ) -> OnnxValue:
        form = FORMS[key]
        call = LayerCall(self.graph, name, inputs, step.shape, step.op, step.path)
        call.bind(torch, form.names)
        made = form.emit(call)
        return OnnxValue(made, step.shape, call.free)

    def _name_outputs(
        self, names: Mapping[str, str], entries: set[str]
    ) -> dict[str, str]:
        """Give outputs their names, and return the new names of other tensors.

        If an input is also an output, or one tensor is several outputs, it is copied.
        """
        from onnx import helper

        given: dict[str, str] = {}
        for port in self.outputs:
            name, source = names[port.name], self.values[port.value].name
            if source in entries or source in given:
                source = given.get(source, source)
                self.graph.nodes.append(
                    helper.make_node("Identity", [source], [name], name=name)
                )
            else:
                given[source] = name
        return given

    def _dimensions(self, value: OnnxValue, prefix: str) -> list[int | str]:
        """Return batch and sizes, with names for those that may be any."""
        dimensions: list[int | str] = [self.batch, *map(int, value.shape)]
        if value.free:
            start = 1 if isinstance(value.shape, Last) else 2
            for place, axis in enumerate(_AXES[len(value.sizes)]):
                dimensions[start + place] = prefix + axis
        return dimensions


def _rename(nodes: Iterable[NodeProto], names: Mapping[str, str]) -> None:
    """Rename tensors in the inputs and outputs of all nodes."""
    for node in nodes:
        for fields in (node.input, node.output):
            for place, name in enumerate(fields):
                if name in names:
                    fields[place] = names[name]
