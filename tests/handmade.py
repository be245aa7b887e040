"""Small networks made by hand, and torch modules made straight from their layers.

Neither goes through the language, the elaborator or the emitter, so that a test of
the passes can only fail for the passes or the layers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archdsl.ir import Expectation, Group, Network, Port, Step
from archdsl.ir.graph import Graph, flatten
from archdsl.layer import Layer, kind
from archdsl.passes.costs import Cost, cost, total
from archdsl.source import Source, Span
from archdsl.values import Shape, TorchCall, TorchForm

_SPAN = Span(Source("handmade.arch", "handmade\n"), 0, 8)


class Sketch:
    """A network in the making.

    Attributes:
        inputs: values of its inputs.
    """

    def __init__(self, *inputs: Shape) -> None:
        self._shapes: list[Shape] = list(inputs)
        self.inputs = tuple(range(len(inputs)))
        self._parts: list[Step | Group] = []

    def add(
        self,
        layer: str | Layer,
        *inputs: int,
        training: bool = False,
        shortcut: bool = False,
        **arguments: Any,
    ) -> int:
        """Add a layer, behind the last value unless told otherwise; return its value.

        Raises:
            Mismatch: if the layer does not fit.
        """
        if isinstance(layer, str):
            found = kind(layer)
            assert found is not None
            layer = found(**arguments)
        inputs = inputs or (len(self._shapes) - 1,)
        shapes = tuple(self._shapes[value] for value in inputs)
        self._shapes.append(layer.shape(*shapes))
        name = f"{layer.word}{len(self._shapes)}"
        step = Step(
            name=name,
            path=name,
            labelled=False,
            op=layer,
            inputs=inputs,
            input_shapes=shapes,
            output=len(self._shapes) - 1,
            shape=self._shapes[-1],
            training=training,
            statement=0,
            span=_SPAN,
        )
        self._parts.append(self._group("shortcut", (step,)) if shortcut else step)
        return step.output

    def shape(self, value: int) -> Shape:
        """Return the shape of a value."""
        return self._shapes[value]

    def network(
        self,
        *outputs: int,
        training: Iterable[int] = (),
        expect: Iterable[tuple[str, str, Any]] = (),
    ) -> Network:
        """Return the network; the last value is its output unless told otherwise."""
        outputs = outputs or (len(self._shapes) - 1,)
        return Network(
            name="handmade",
            inputs=tuple(self._port("input", value) for value in self.inputs),
            outputs=(
                *(self._port("output", value) for value in outputs),
                *(self._port("head", value, True) for value in training),
            ),
            root=self._group("network", tuple(self._parts)),
            expectations=tuple(
                Expectation(measure=measure, op=op, value=value, span=_SPAN)
                for measure, op, value in expect
            ),
        )

    def _port(self, name: str, value: int, training: bool = False) -> Port:
        name = f"{name}{value}"
        shape = self._shapes[value]
        return Port(name=name, value=value, shape=shape, training=training)

    def _group(self, role: Any, children: tuple[Step | Group, ...]) -> Group:
        return Group(
            role=role,
            name="",
            path="",
            word="Handmade" if role == "network" else "",
            children=children,
            input=0,
            input_shape=self._shapes[0],
            output=len(self._shapes) - 1,
            shape=self._shapes[-1],
            span=_SPAN,
        )


def chain(shape: Shape, *layers: str | Layer | tuple[str, dict[str, Any]]) -> Network:
    """Return a network of layers one after the other."""
    sketch = Sketch(shape)
    for layer in layers:
        if isinstance(layer, tuple):
            sketch.add(layer[0], **layer[1])
        else:
            sketch.add(layer)
    return sketch.network()


# ---- torch ---------------------------------------------------------------------


_SCOPE = {"nn": nn, "F": F, "torch": torch, "Tensor": Tensor}


def make(call: TorchCall, helper: str = "") -> Any:
    """Return what a call makes; the helper's text defines a class it may name."""
    root, *names = call.name.split(".")
    args = [make(arg) if isinstance(arg, TorchCall) else arg for arg in call.args]
    owner = _defined(helper)[root] if helper else _SCOPE[root]
    for name in names:
        owner = getattr(owner, name)
    return owner(*args, **dict(call.kwargs))


@cache
def _defined(helper: str) -> dict[str, Any]:
    scope = dict(_SCOPE)
    exec(helper, scope)
    return scope


class _Bare(nn.Module):
    """A parameter of its owner, and the function that reads it."""

    def __init__(self, form: TorchForm) -> None:
        super().__init__()
        assert form.module is not None and form.function is not None
        self.register_parameter("own", make(form.module))
        self.form = form._replace(function=form.function.replace("{self}", "own"))

    def forward(self, *inputs: Tensor) -> Any:
        return apply(self.form, *inputs, own=self.own)


def module(form: TorchForm) -> nn.Module | None:
    """Return the module of a form, or None if it only has a function."""
    if form.module is None:
        return None
    if form.function is not None and "{self}" in form.function:
        return _Bare(form)
    first = make(form.module, form.helper)
    parts = [first, *(make(call) for call in form.then)]
    return parts[0] if len(parts) == 1 else nn.Sequential(*parts)


def apply(form: TorchForm, *inputs: Tensor, own: Tensor | None = None) -> Any:
    """Return what a form's function gives."""
    assert form.function is not None
    names = [f"x[{n}]" for n in range(len(inputs))]
    text = form.function.replace("{*,}", ", ".join(names))
    text = re.sub(r"\{\*(.)\}", lambda sign: f" {sign[1]} ".join(names), text)
    kwargs = ""
    for name, value in form.kwargs:
        kwargs += "" if f"{{{name}}}" in text else f", {name}={value!r}"
        text = text.replace(f"{{{name}}}", repr(value))
    text = text.replace("{0}", names[0] + kwargs).replace("{1}", names[-1])
    return eval(text, {**_SCOPE, "x": inputs, "own": own})


class Interpreted(nn.Module):
    """A network run step by step, some steps in place."""

    def __init__(
        self, network: Network, overwriting: frozenset[int] = frozenset()
    ) -> None:
        super().__init__()
        self.graph = flatten(network)
        self.parts = nn.ModuleDict()
        self.forms: dict[str, TorchForm] = {}
        for node in self.graph.nodes:
            path = node.step.path
            self.forms[path] = form = node.op.torch(node.input_shapes, node.shape)
            made = module(form)
            if made is not None:
                self.parts[path] = made
            if node.output in overwriting:
                made.inplace = True  # type: ignore[union-attr, assignment]

    def values(self, *inputs: Tensor) -> dict[int, Tensor]:
        """Return every value."""
        known = dict(zip(self.graph.inputs, inputs, strict=True))
        for node in self.graph.run(self.training):
            path, read = node.step.path, [known[value] for value in node.inputs]
            if path in self.parts:
                known[node.output] = self.parts[path](*read)
            else:
                known[node.output] = apply(self.forms[path], *read)
        return known

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        known = self.values(*inputs)
        return tuple(known[value] for value in self.graph.outputs(self.training))


def example(network: Network, batch: int = 1, **options: Any) -> list[Tensor]:
    """Return random inputs of a network."""
    return [torch.randn(batch, *port.shape, **options) for port in network.inputs]


def saved_bytes(owner: nn.Module, *inputs: Tensor) -> int:
    """Return the bytes of all storages that autograd keeps of a forward pass.

    The storages of the module's parameters and buffers are left out. Works on the
    meta device, too, where nothing is computed.
    """
    # Kept as they are found, so that no identity is used twice.
    own = [t.untyped_storage() for t in (*owner.parameters(), *owner.buffers())]
    own_ids = {storage._cdata for storage in own}
    found = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own_ids:
            found[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        owner(*inputs)
    return sum(storage.nbytes() for storage in found.values())


def cost_of(graph: Graph) -> Cost:
    """Return the cost of all layers together."""
    return total(cost(node) for node in graph.nodes)
