"""Every layer kind agrees with torch, whatever its arguments and inputs.

The kinds come from the registry and their arguments from their declared fields, so
that a new kind is tested without an edit here.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from archdsl.layer import Layer, Mismatch, kind
from archdsl.passes.graph import flatten
from archdsl.passes.memory import memory
from archdsl.values import Shape
from tests import handmade
from tests.handmade import Sketch
from tests.strategies import KINDS, layers_with_inputs

BATCH = 2

every_kind = pytest.mark.parametrize("word", KINDS)


def _shape(layer: Layer, inputs: tuple[Shape, ...]) -> Shape | None:
    """Return the predicted shape, or None if the layer is refused."""
    try:
        return layer.shape(*inputs)
    except Mismatch as mismatch:
        assert mismatch.code.startswith("A03") and mismatch.message
        return None


# ---- shapes, tensors, MACs -----------------------------------------------------


@every_kind
def test_agrees_with_torch_on_shape_tensors_and_macs(word: str) -> None:
    accepted = []

    @settings(max_examples=60, deadline=None)
    @given(layers_with_inputs(word))
    def check(case: tuple[Layer, tuple[Shape, ...]]) -> None:
        layer, inputs = case
        shape = _shape(layer, inputs)
        if shape is None:
            return
        accepted.append(case)
        with torch.device("meta"):
            module = handmade.module(layer.torch(inputs, shape))
            values = [torch.empty(BATCH, *size) for size in inputs]
            with FlopCounterMode(display=False) as counter:
                if module is None:
                    output = handmade.apply(layer.torch(inputs, shape), *values)
                else:
                    output = module(*values)
        assert tuple(output.shape) == (BATCH, *shape)
        assert counter.get_total_flops() == 2 * BATCH * layer.macs(inputs, shape)
        assert _declared(layer, inputs) == _owned(module)
        assert layer.elementwise(inputs, shape) >= 0

    check()
    assert accepted, "no example was accepted"


def _declared(layer: Layer, inputs: tuple[Shape, ...]) -> list[Any]:
    return [(t.name, t.shape, t.trainable, t.integer) for t in layer.tensors(*inputs)]


def _owned(module: nn.Module | None) -> list[Any]:
    if module is None:
        return []
    trained = dict(module.named_parameters())
    return [
        (
            # A bare parameter has the name of its step.
            "" if name == "own" else name,
            tuple(tensor.shape),
            name in trained,
            not tensor.is_floating_point(),
        )
        for name, tensor in module.state_dict().items()
    ]


@every_kind
def test_function_form_gives_what_the_module_gives(word: str) -> None:
    @settings(max_examples=25, deadline=None)
    @given(layers_with_inputs(word))
    def check(case: tuple[Layer, tuple[Shape, ...]]) -> None:
        layer, inputs = case
        shape = _shape(layer, inputs)
        if shape is None:
            return
        form = layer.torch(inputs, shape)
        module = handmade.module(form)
        if form.function is None or module is None or "{self}" in form.function:
            return
        values = [torch.rand(BATCH, *size) for size in inputs]
        ours, theirs = handmade.apply(form, *values), module(*values)
        assert torch.equal(ours.nan_to_num(), theirs.nan_to_num())

    check()


# ---- what autograd keeps -------------------------------------------------------


@every_kind
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_agrees_with_autograd_on_what_is_kept(word: str, dtype: str) -> None:
    @settings(max_examples=25, deadline=None)
    @given(layers_with_inputs(word), st.data())
    def check(case: tuple[Layer, tuple[Shape, ...]], data: st.DataObject) -> None:
        layer, inputs = case
        if _shape(layer, inputs) is None:
            return
        sketch = Sketch(*inputs)
        # A layer before it that trains decides whether a gradient flows back.
        read = [
            sketch.add("layerscale", value) if data.draw(st.booleans()) else value
            for value in sketch.inputs
        ]
        sketch.add(layer, *read)
        _check_saved(sketch, dtype)

    check()


def _check_saved(sketch: Sketch, dtype: str) -> None:
    network = sketch.network()
    # On a CPU, torch keeps the statistics of a norm in 16 bits; elsewhere it does not.
    with torch.device("meta" if dtype == "bfloat16" else "cpu"):
        module = handmade.Interpreted(network).to(getattr(torch, dtype))
        values = handmade.example(network, BATCH, dtype=getattr(torch, dtype))
        saved = handmade.saved_bytes(module, *values)
    graph = flatten(network)
    figures = memory(graph, handmade.cost_of(graph), batch=BATCH, dtype=dtype)
    assert figures.saved_bytes == saved


# ---- by hand -------------------------------------------------------------------


def _layer(word: str, **arguments: Any) -> Layer:
    found = kind(word)
    assert found is not None
    return found(**arguments)


@pytest.mark.parametrize(
    ("layer", "inputs", "operations"),
    [
        # A bias for each of 4x8x8 outputs.
        (_layer("conv", kernel=(3, 3), width=4), [(3, 8, 8)], 256),
        (_layer("conv", kernel=(3, 3), width=4, bias=False), [(3, 8, 8)], 0),
        (_layer("linear", width=10), [(32,)], 10),
        # x * a + b.
        (_layer("bn"), [(3, 4, 4)], 2 * 48),
        (_layer("relu"), [(3, 4, 4)], 48),
        # Three comparisons for each of 3x2x2 outputs.
        (_layer("maxpool", kernel=(2, 2)), [(3, 4, 4)], 3 * 12),
        # Three sums and a division.
        (_layer("avgpool", kernel=(2, 2)), [(3, 4, 4)], 4 * 12),
        (_layer("globalavgpool"), [(3, 4, 4)], 3 * 16),
        (_layer("adaptiveavgpool", size=(2, 2)), [(3, 4, 4)], 4 * 12),
        # Windows 0-1 and 1-2 along an axis of 3: nine taps become 4 x 4.
        (_layer("adaptiveavgpool", size=(2, 2)), [(1, 3, 3)], 16),
        (_layer("add"), [(3, 4, 4)] * 3, 2 * 48),
        (_layer("mul"), [(3, 4, 4)] * 2, 48),
        (_layer("concat"), [(3, 4, 4)] * 2, 0),
        (_layer("flatten"), [(3, 4, 4)], 0),
        (_layer("dropout"), [(3, 4, 4)], 0),
        (_layer("upsample"), [(3, 4, 4)], 0),
        (_layer("upsample", mode="bilinear"), [(3, 4, 4)], 7 * 192),
    ],
    ids=lambda value: value.label() if isinstance(value, Layer) else "",
)
def test_counts_operations_besides_macs(
    layer: Layer, inputs: list[Shape], operations: int
) -> None:
    assert layer.elementwise(tuple(inputs), layer.shape(*inputs)) == operations


def test_layers_compare_by_content() -> None:
    one, same = _layer("conv", kernel=(3, 3)), _layer("conv", kernel=(3, 3))
    assert one == same and hash(one) == hash(same)
    assert one != _layer("conv", kernel=(3, 3), width=4)
    assert one != _layer("maxpool", kernel=(3, 3))
