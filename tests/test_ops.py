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

import archdsl
from archdsl.ir.graph import flatten
from archdsl.layer import Layer, Mismatch, kind
from archdsl.passes.dtypes import ITEM_BYTES
from archdsl.passes.memory import memory
from archdsl.passes.traffic import traffic
from archdsl.values import Last, Shape
from tests import handmade
from tests.handmade import Sketch
from tests.operations import Macs, moved_by
from tests.oracle import torchvision
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
        assert sum(layer.operations(inputs, shape, training=False)) == (
            layer.elementwise(inputs, shape)
        )
        assert min(layer.operations(inputs, shape, training=True)) >= 0

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


# ---- bytes moved, backward MACs --------------------------------------------------


@every_kind
def test_agrees_with_torch_on_bytes_moved(word: str) -> None:
    @settings(max_examples=25, deadline=None)
    @given(layers_with_inputs(word), st.booleans(), st.sampled_from([*ITEM_BYTES]))
    def check(
        case: tuple[Layer, tuple[Shape, ...]], training: bool, dtype: str
    ) -> None:
        layer, inputs = case
        shape = _shape(layer, inputs)
        if shape is None:
            return
        sketch = Sketch(*inputs)
        sketch.add(layer, *sketch.inputs)
        network = sketch.network()
        with torch.device("meta"), torch.set_grad_enabled(training):
            module = handmade.Interpreted(network).train(training)
            module.to(getattr(torch, dtype))
            values = handmade.example(network, BATCH, dtype=getattr(torch, dtype))
            found = moved_by(module, *(x.requires_grad_(training) for x in values))
        (node,) = flatten(network).nodes
        ours = traffic(node, batch=BATCH, dtype=dtype, training=training)
        # torch multiplies three or more factors in pairs, and keeps the products.
        if len(inputs) > 2 and layer.saved(inputs, shape).factors:
            return
        assert ours == found

    check()


@every_kind
def test_training_updates_the_running_buffers(word: str) -> None:
    @settings(max_examples=10, deadline=None)
    @given(layers_with_inputs(word))
    def check(case: tuple[Layer, tuple[Shape, ...]]) -> None:
        layer, inputs = case
        shape = _shape(layer, inputs)
        if shape is None or not layer.tensors(*inputs):
            return
        module = handmade.module(layer.torch(inputs, shape))
        assert module is not None
        for buffer in module.buffers():
            if buffer.is_floating_point():
                buffer.fill_(0.5)  # every step changes this value
        before = {name: t.clone() for name, t in module.state_dict().items()}
        # Several steps, so that even a small momentum shows.
        for _ in range(3):
            module(*(1 + torch.rand(BATCH, *size) for size in inputs))
        changed = {
            name for name, t in module.state_dict().items() if not t.equal(before[name])
        }
        running = {t.name for t in layer.tensors(*inputs) if t.running}
        assert changed <= running
        if getattr(layer, "momentum", 1) > 1e-3:
            assert changed == running

    check()


@every_kind
def test_agrees_with_torch_on_backward_macs(word: str) -> None:
    @settings(max_examples=25, deadline=None)
    @given(layers_with_inputs(word), st.data())
    def check(case: tuple[Layer, tuple[Shape, ...]], data: st.DataObject) -> None:
        layer, inputs = case
        shape = _shape(layer, inputs)
        if shape is None:
            return
        needed = tuple(data.draw(st.booleans()) for _ in inputs)
        sketch = Sketch(*inputs)
        sketch.add(layer, *sketch.inputs)
        network = sketch.network()
        with torch.device("meta"):
            values = handmade.example(network, BATCH)
            for value, needs in zip(values, needed, strict=True):
                value.requires_grad_(needs)
            (output,) = handmade.Interpreted(network)(*values)
            with Macs() as counter:
                if output.requires_grad:
                    output.sum().backward()
        ours = layer.backward_macs(inputs, shape, needed)
        assert BATCH * ours == counter.macs

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
        # Whether a gradient flows back depends on trainable layers before this one.
        read = [
            sketch.add("layerscale", value) if data.draw(st.booleans()) else value
            for value in sketch.inputs
        ]
        sketch.add(layer, *read)
        _check_saved(sketch, dtype)

    check()


def _check_saved(sketch: Sketch, dtype: str) -> None:
    network = sketch.network()
    # Only on a CPU does torch keep the statistics of a norm in 16 bits.
    with torch.device("meta" if dtype == "bfloat16" else "cpu"):
        module = handmade.Interpreted(network).to(getattr(torch, dtype))
        values = handmade.example(network, BATCH, dtype=getattr(torch, dtype))
        saved = handmade.saved_bytes(module, *values)
    graph = flatten(network)
    figures = memory(graph, handmade.cost_of(graph), batch=BATCH, dtype=dtype)
    assert figures.saved_bytes == saved


@every_kind
def test_agrees_with_torch_on_what_is_a_view_or_the_input_itself(word: str) -> None:
    @settings(max_examples=25, deadline=None)
    @given(layers_with_inputs(word))
    def check(case: tuple[Layer, tuple[Shape, ...]]) -> None:
        layer, inputs = case
        shape = _shape(layer, inputs)
        if shape is None:
            return
        form = layer.torch(inputs, shape)
        # Views are only visible to autograd.
        values = [torch.rand(BATCH, *n, requires_grad=True) * 1 for n in inputs]
        module = handmade.module(form)
        made = module(*values) if module else handmade.apply(form, *values)
        assert (made is values[0]) == layer.returns_input(inputs, shape)
        # A view of a view is one, too; if torch may copy or not, the kind counts as a
        # view.
        assert made._is_view() <= layer.is_view(inputs, shape)

    check()


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
        # Two gates are multiplied, and the product scales 3x4x4.
        (_layer("mul"), [(3, 1, 1), (3, 1, 1), (3, 4, 4)], 3 + 48),
        (_layer("mul"), [(1, 4, 4), (3, 4, 4)], 48),
        (_layer("concat"), [(3, 4, 4)] * 2, 0),
        (_layer("flatten"), [(3, 4, 4)], 0),
        (_layer("dropout"), [(3, 4, 4)], 0),
        (_layer("upsample"), [(3, 4, 4)], 0),
        (_layer("upsample", mode="bilinear"), [(3, 4, 4)], 7 * 192),
        (_layer("resize"), [(3, 4, 4), (1, 8, 8)], 7 * 192),
        (_layer("resize", mode="nearest"), [(3, 4, 4), (1, 8, 8)], 0),
        (_layer("linear", width=10), [Last((2, 3, 8))], 60),
        # Seven for each element, five for each of 16 positions, 2 groups, 4 channels.
        (_layer("layernorm"), [(4, 4, 4)], 7 * 64 + 5 * 16),
        (_layer("layernorm"), [Last((4, 4, 4))], 7 * 64 + 5 * 16),
        (_layer("groupnorm", groups=2), [(4, 4, 4)], 7 * 64 + 5 * 2),
        (_layer("instancenorm", affine=True), [(4, 4, 4)], 7 * 64 + 5 * 4),
        (_layer("instancenorm"), [(4, 4, 4)], 5 * 64 + 5 * 4),
        (_layer("layerscale"), [(3, 4, 4)], 48),
        (_layer("groupsum", groups=3), [(6, 4, 4)], 2 * 2 * 16),
        (_layer("softmax", of=3), [(6, 4, 4)], 5 * 96),
        (_layer("relu6"), [(3, 4, 4)], 2 * 48),
        (_layer("hardsigmoid"), [(3, 4, 4)], 4 * 48),
        (_layer("hardswish"), [(3, 4, 4)], 5 * 48),
        (_layer("inputscale"), [(3, 4, 4)], 2 * 48),
        (_layer("adaptivemaxpool", size=(2, 2)), [(3, 4, 4)], 3 * 12),
        (_layer("globalmaxpool"), [(3, 4, 4)], 3 * 15),
        (_layer("slice", start=1), [(3, 4, 4)], 0),
        (_layer("shuffle", groups=3), [(3, 4, 4)], 0),
        (_layer("permute", channels="last"), [(3, 4, 4)], 0),
        (_layer("stochasticdepth", p=0.5), [(3, 4, 4)], 0),
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


# ---- against torchvision's own ---------------------------------------------------


def _module(layer: Layer, *inputs: Shape) -> nn.Module:
    made = handmade.module(layer.torch(inputs, layer.shape(*inputs)))
    assert made is not None
    return made


@pytest.mark.parametrize("p", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("training", [False, True])
def test_stochastic_depth_is_torchvisions(p: float, training: bool) -> None:
    ours = _module(_layer("stochasticdepth", p=p), (4, 3, 3)).train(training)
    theirs = torchvision.ops.StochasticDepth(p, "row").train(training)
    x = torch.randn(64, 4, 3, 3)
    torch.manual_seed(0)
    expected = theirs(x)
    torch.manual_seed(0)
    assert torch.equal(ours(x), expected)


def test_layer_norm_of_a_map_is_torchvisions() -> None:
    ours = _module(_layer("layernorm", eps=1e-6), (8, 5, 4))
    theirs = torchvision.models.convnext.LayerNorm2d(8, eps=1e-6)
    x = torch.randn(2, 8, 5, 4)
    assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_shuffle_is_torchvisions(groups: int) -> None:
    form = _layer("shuffle", groups=groups).torch(((6, 2, 3),), (6, 2, 3))
    x = torch.randn(2, 6, 2, 3, requires_grad=True)
    expected = torchvision.models.shufflenetv2.channel_shuffle(x, groups)
    found = handmade.apply(form, x)
    assert torch.equal(found, expected)
    weight = torch.randn(2, 6, 2, 3)
    (ours,) = torch.autograd.grad((found * weight).sum(), x)
    (theirs,) = torch.autograd.grad((expected * weight).sum(), x)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_input_scale_is_torchvisions(dtype: torch.dtype) -> None:
    with torch.device("meta"):
        theirs = torchvision.models.googlenet(
            transform_input=True, init_weights=False, aux_logits=False
        )
    x = torch.randn(2, 3, 4, 5, dtype=dtype)
    ours = _module(_layer("inputscale"), (3, 4, 5))
    assert torch.equal(ours(x), theirs._transform_input(x))


def test_squeeze_and_excitation_is_torchvisions() -> None:
    network = archdsl.loads(
        "arch 1\nnetwork N {\n    input 8x5x4\n"
        "    squeeze_excite<2, act = silu, gate = hardsigmoid>\n}\n"
    )
    ours = archdsl.build(network)
    theirs = torchvision.ops.SqueezeExcitation(
        8, 2, activation=nn.SiLU, scale_activation=nn.Hardsigmoid
    )
    state = theirs.state_dict()
    ours.load_state_dict({f"squeeze_excite1.{name}": t for name, t in state.items()})
    x = torch.randn(2, 8, 5, 4)
    assert torch.equal(ours(x), theirs(x))


# ---- refusals ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "inputs", "message", "help"),
    [
        (
            _layer("conv", kernel=(3, 3)),
            [Last((5, 5, 8))],
            "needs the channels first",
            "`permute first`",
        ),
        (_layer("linear", width=2), [(8, 5, 5)], "needs a vector", "`permute last`"),
        (
            _layer("permute", channels="first"),
            [(8, 5, 5)],
            "needs a map with its channels last",
            "`permute last`",
        ),
        (_layer("add"), [(5, 5, 5), Last((5, 5, 5))], "differ in kind", "agree"),
        (_layer("mul"), [(8, 5, 5), (8, 1, 5)], r"size \(5x5 and 1x5\)", "a gate"),
        (_layer("mul"), [(8, 5, 5), (4, 1, 1)], r"8x5x5 and 4x1x1", "a gate"),
        (_layer("slice", start=4, stop=4), [(8, 5, 5)], "no channels 4 up to 4", ""),
        (_layer("slice", start=4, stop=9), [(8, 5, 5)], "4 up to 9 in 8", "from 0"),
        (_layer("shuffle", groups=3), [(8, 5, 5)], "8 channels do not divide", ""),
        (_layer("groupnorm", groups=3), [(8, 5, 5)], "8 channels do not divide", ""),
        (_layer("groupsum", groups=3), [(8, 5, 5)], "8 channels do not divide", ""),
        (_layer("softmax", of=3), [(8, 5, 5)], "do not divide into 3", ""),
        (_layer("pixelshuffle", factor=2), [(6, 5, 5)], "into groups of 4", "of 4"),
        (_layer("pixelunshuffle", factor=2), [(6, 5, 4)], "squares of 2x2", "pad"),
        (_layer("instancenorm"), [(6, 1, 1)], "no variance", "1x1"),
        (_layer("inputscale"), [(1, 5, 5)], "3 channels", "input"),
        (_layer("resize"), [(1, 5, 5)] * 3, "two branches, not 3", "first one"),
        (
            _layer("resize", mode="nearest", align=True),
            [(1, 5, 5)] * 2,
            "no meaning",
            "mode=bilinear",
        ),
        (
            _layer("upsample", scale=(2, 2), size=(9, 9)),
            [(1, 5, 5)],
            "factors and a size",
            "leave one",
        ),
    ],
    ids=lambda value: value.word if isinstance(value, Layer) else "",
)
def test_says_what_does_not_fit(
    layer: Layer, inputs: list[Shape], message: str, help: str
) -> None:
    with pytest.raises(Mismatch, match=message) as caught:
        layer.shape(*inputs)
    assert help in (caught.value.help or "")


def test_a_bare_parameter_is_refused_in_a_numbered_body() -> None:
    text = "arch 1\nnetwork N {\n    input 8x5x4\n    a: seq { layerscale }\n}\n"
    with pytest.raises(archdsl.SpecError, match="layerscale is a bare parameter"):
        archdsl.loads(text)
