"""Claims of rules that are certain, checked in torch on random networks."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

import archdsl
from archdsl.ir import Network
from archdsl.layer import Layer, Mismatch, count
from archdsl.linter.check import lint
from archdsl.linter.net import Net
from archdsl.linter.rule import Finding, all_rules
from archdsl.linter.rules.weights_on_padding import meets
from archdsl.resources import shipped_specs
from archdsl.source import Source
from archdsl.syntax import tree
from archdsl.syntax.loader import load_text
from archdsl.values import Last, Shape, channels
from tests.comparing import named_outputs
from tests.conftest import ROOT
from tests.generated import specimen
from tests.handmade import Interpreted, Sketch, apply, chain, module
from tests.seeing import brighten
from tests.strategies import KINDS, layers_with_inputs, sketches
from tests.test_lint import advice, built, fixed, net, networks, only

RULES = all_rules()
CASES = ROOT / "tests" / "cases"
_NO_FILE = tree.File(Source("", ""), [])


def findings(network: Network, code: str) -> list[Finding]:
    return list(RULES[code]().check(Net(network, _NO_FILE)))


def case(name: str) -> str:
    return (CASES / f"{name}.arch").read_text("utf-8")


# ---- what kinds declare ----------------------------------------------------------


def _shaped(layer: Layer, inputs: tuple[Shape, ...]) -> Shape:
    try:
        return layer.shape(*inputs)
    except Mismatch:
        assume(False)
        raise


def _run(layer: Layer, inputs: list[Tensor], training: bool = False) -> Tensor:
    """Return a layer's output for some inputs, with new random weights."""
    shapes = [tuple(x.shape[1:]) for x in inputs]
    form = layer.torch(tuple(shapes), layer.shape(*shapes))
    made = module(form)
    if made is None:
        return apply(form, *inputs)  # type: ignore[no-any-return]
    made.double().train(training)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, tensor in made.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif tensor.is_floating_point():
                tensor.uniform_(-2, 2)
    return made(*inputs)  # type: ignore[no-any-return]


@given(st.data(), st.sampled_from(sorted(KINDS)), st.booleans())
@settings(max_examples=400, deadline=None)
def test_what_is_said_to_be_positive_is(
    data: st.DataObject, word: str, known: bool
) -> None:
    layer, inputs = data.draw(layers_with_inputs(word))
    shape = _shaped(layer, inputs)
    assume(not any(isinstance(each, Last) for each in (*inputs, shape)))
    assume(count(shape) < 10_000)
    if not layer.is_positive([known] * len(inputs)):
        return
    torch.manual_seed(1)
    values = [3 * torch.randn(2, *each, dtype=torch.float64) for each in inputs]
    out = _run(layer, [x.abs() if known else x for x in values], training=True)
    assert not (out < 0).any()


@pytest.mark.parametrize(
    ("word", "arguments"),
    [
        ("bn", {}),
        ("scale", {"factor": -0.5}),
        ("layerscale", {"init": 0.3}),
        ("inputscale", {}),
    ],
)
def test_channelwise_kinds_scale_and_shift_each_channel(
    word: str, arguments: dict[str, float]
) -> None:
    layer = KINDS[word](**arguments)
    assert layer.channelwise
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    zero, one, two, out = (
        _run(layer, [each])
        for each in (torch.zeros_like(x), torch.ones_like(x), torch.ones_like(x) * 2, x)
    )
    torch.testing.assert_close(two - one, one - zero)
    torch.testing.assert_close(out, zero + (one - zero) * x)


def test_no_other_kind_is_channelwise() -> None:
    said = {word for word, kind in KINDS.items() if kind.channelwise}
    assert said == {"bn", "scale", "layerscale", "inputscale"}


_NORMS = sorted(
    word for word, kind in KINDS.items() if kind.family == "norm" and word != "lrn"
)


@given(st.data(), st.sampled_from(_NORMS))
@settings(max_examples=150, deadline=None)
def test_norms_cancel_what_they_say(data: st.DataObject, word: str) -> None:
    """They also declare of how many values: a single one is mapped to the bias."""
    layer, inputs = data.draw(layers_with_inputs(word))
    shape = _shaped(layer, inputs)
    assume(not isinstance(shape, Last))
    torch.manual_seed(1)
    x = torch.randn(3, *shape, dtype=torch.float64)
    shift = 5 + torch.rand(1, channels(shape), *[1] * (len(shape) - 1)).double()
    before, after = (_run(layer, [each], True) for each in (x, x + shift))
    same = torch.allclose(before, after, atol=1e-6)
    own = layer.normed(inputs)
    if layer.cancels_bias(inputs):
        assert same
    elif own > 1:
        assert not same
    if own == 1 and not layer.pools_batch:
        assert torch.allclose(before, _run(layer, [torch.randn_like(x)], True))
    elif own > 2:  # any two values are mapped to 1 and -1
        assert not torch.allclose(before, _run(layer, [torch.randn_like(x)], True))


# ---- W0103: biases that norms cancel ------------------------------------------------


@pytest.mark.parametrize(
    ("norm", "cancels"),
    [
        ("instancenorm", True),
        ("instancenorm affine=true", True),
        ("groupnorm 8", True),
        ("groupnorm 4", False),
        ("groupnorm 1", False),
        ("layernorm", False),
        ("lrn", False),
    ],
)
def test_biases_before_other_norms(norm: str, cancels: bool) -> None:
    text = net(f"a: conv 3x3 8 -> {norm} -> relu", "conv 1x1 4")
    found = advice(text, "W0103")
    assert bool(found) == cancels
    owner = built(text).double().eval()  # in inference, too
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    before = owner(x)
    with torch.no_grad():
        bias = owner.get_submodule("a").bias
        assert isinstance(bias, Tensor)
        bias += 1 + torch.rand(8, dtype=torch.float64)
    assert torch.allclose(owner(x), before, atol=1e-6) == cancels
    if cancels:
        assert fixed(text, "W0103").text == text.replace(
            f"8 -> {norm}", f"8 bias=false -> {norm}"
        )


# ---- W0116: kernel elements that meet no position
# -------------------------------------------


@given(
    first=st.integers(-12, 12),
    stride=st.integers(1, 5),
    up=st.integers(1, 5),
    units=st.integers(1, 6),
    size=st.integers(1, 6),
)
@settings(max_examples=400, deadline=None)
def test_where_units_meet_a_map(
    first: int, stride: int, up: int, units: int, size: int
) -> None:
    read = {first + stride * unit for unit in range(units)}
    there = {up * place for place in range(size)}
    assert meets(first, stride, up, units, size) == bool(read & there)


def idle(weight: Tensor) -> int:
    """Return the elements without any gradient."""
    assert weight.grad is not None
    return int((weight.grad == 0).sum())


@st.composite
def _windows(draw: st.DrawFn) -> tuple[str, dict[str, object], tuple[int, int, int]]:
    word = draw(st.sampled_from(("conv", "conv", "convtranspose")))
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    arguments: dict[str, object] = {
        "kernel": draw(st.tuples(st.integers(1, 5), st.integers(1, 5))),
        "width": 4,
        "stride": draw(pair),
        "pad": draw(st.tuples(st.integers(0, 6), st.integers(0, 6))),
        "dilation": draw(st.tuples(st.integers(1, 5), st.integers(1, 5))),
        "groups": draw(st.sampled_from((1, 2))),
    }
    if word == "conv" and draw(st.integers(0, 9)) == 0:
        arguments |= {"pad": "same", "stride": (1, 1)}
    return word, arguments, (2, draw(st.integers(1, 6)), draw(st.integers(1, 6)))


@given(_windows(), st.sampled_from((0, 0, 1, 3)))
@settings(max_examples=300, deadline=None)
def test_idle_weights_are_those_without_a_gradient(
    drawn: tuple[str, dict[str, object], tuple[int, int, int]], rim: int
) -> None:
    word, arguments, shape = drawn
    sketch = Sketch(shape)
    try:
        if rim:
            sketch.add("zeropad", left=rim, top=rim, bottom=1)
        sketch.add(word, **arguments)
    except Mismatch:
        assume(False)
    network = sketch.network()
    owner = Interpreted(network).double()
    (out,) = owner(1 + torch.rand(2, *shape, dtype=torch.float64))
    (out * (1 + torch.rand_like(out))).sum().backward()
    (path,) = (step.path for step in network.steps() if step.op.word == word)
    weight = owner.parts[path].weight
    assert isinstance(weight, Tensor)
    said = sum(found.saving.params for found in findings(network, "W0116"))
    assert said == idle(weight)


def test_resnet18_on_small_images_has_this_many_idle_weights() -> None:
    """In the last stage: 5/9 of 3x3x256x512, and three times 8/9 of 3x3x512x512."""
    text = shipped_specs()["resnet"].read_text("utf-8")
    network = archdsl.load("resnet18", input=(3, 32, 32))
    found = findings(network, "W0116")
    by_hand = 5 * 256 * 512 + 3 * 8 * 512 * 512
    assert by_hand == 6_946_816
    assert sum(each.saving.params for each in found) == by_hand
    assert [each.node.step.path for each in found] == [
        "layer4.0.conv1",
        "layer4.0.conv2",
        "layer4.1.conv1",
        "layer4.1.conv2",
    ]
    for each in found:
        assert "6,946,816 of 11,689,512 weights (59 %)" in each.notes[0]
    assert "W0116" not in text
    assert findings(archdsl.load("resnet18"), "W0116") == []
    # With positive weights, no unit is dead and no gradients cancel.
    owner = archdsl.build(network)
    brighten(owner)
    owner(1 + torch.rand(1, 3, 32, 32, dtype=torch.float64)).sum().backward()
    assert sum(map(idle, owner.parameters())) == by_hand


def test_weights_live_if_they_do_in_one_use() -> None:
    text = net(
        "concat { adaptiveavgpool 1x1 -> a: conv 3x3 16 | adaptiveavgpool 1x2 -> "
        "same a -> adaptiveavgpool 1x1 }",
        size="8x4x4",
    )
    said = sum(each.saving.params for each in advice(text, "W0116"))
    owner = built(text)
    owner(torch.randn(8, 8, 4, 4)).square().sum().backward()
    weight = owner.get_submodule("a").weight
    assert isinstance(weight, Tensor)
    assert said == idle(weight) == 6 * 8 * 16


# ---- W0117: the number of taps per output -----------------------------------------


@given(
    kernel=st.integers(1, 7),
    stride=st.integers(2, 5),
    pad=st.integers(0, 3),
    dilation=st.integers(1, 4),
    size=st.integers(1, 7),
)
@settings(max_examples=200, deadline=None)
def test_outputs_that_are_bare_or_uneven(
    kernel: int, stride: int, pad: int, dilation: int, size: int
) -> None:
    reach = dilation * (kernel - 1) + 1
    assume((size - 1) * stride - 2 * pad + reach > 1)
    layer = {
        "kernel": (kernel, 1),
        "stride": (stride, 1),
        "pad": (pad, 0),
        "dilation": (dilation, 1),
    }
    found = findings(chain((1, size, 1), ("convtranspose", layer)), "W0117")

    def taps(n: int, pad: int) -> list[int]:
        ones = torch.ones(1, 1, kernel)
        x = torch.ones(1, 1, n)
        y = functional.conv_transpose1d(x, ones, None, stride, pad, dilation=dilation)
        return [int(count) for count in y[0, 0]]

    bare = taps(size, pad).count(0)
    # Far from the border of a long map, over one period of the pattern.
    middle = (kernel * dilation + 2) * stride
    period = taps(4 * middle, 0)[middle : middle + stride]
    if bare:
        (each,) = found
        assert each.message.endswith("depend on no input")
        assert each.label.startswith(f"{bare:,} of ")
    elif size > 1 and len(set(period)) > 1:
        (each,) = found
        assert f"sums of {min(period)} to {max(period)} taps" in each.message
    else:
        assert found == []


@pytest.mark.parametrize(
    ("text", "bare"),
    [("3x3 4 /2", 0), ("2x2 4 /3", 1), ("4x4 4 /2 pad=1", None), ("2x2 4 /2", None)],
)
def test_transposed_convolutions_of_the_article(text: str, bare: int | None) -> None:
    found = advice(net(f"convtranspose {text}"), "W0117")
    if bare is None:
        assert found == ()
    else:
        assert ("no input" in found[0].message) == bool(bare)


# ---- W0118: one layer instead of two --------------------------------------------


def _joined(first: nn.Conv2d, last: nn.Conv2d) -> Tensor:
    """Return the kernel that combines two convolutions, by convolving theirs."""
    step, kernel = first.stride, last.kernel_size
    pad = [s * (k - 1) for s, k in zip(step, kernel, strict=True)]  # type: ignore[call-overload]
    turned = last.weight.flip(2, 3)
    joined = functional.conv2d(
        first.weight.permute(1, 0, 2, 3),
        turned,
        padding=pad,  # type: ignore[arg-type]
        dilation=step,  # type: ignore[arg-type]
    )
    return joined.permute(1, 0, 2, 3).flip(2, 3).flip(2, 3)


@pytest.mark.parametrize(
    ("statement", "inner"),
    [
        ("a: conv 3x3 8 -> b: conv 1x1 8", 0),
        ("a: conv 3x3 8 bias=false -> b: conv 1x1 8 bias=false", 0),
        ("a: conv 3x3 8 /2 -> b: conv 1x1 8", 0),
        ("a: conv 1x1 8 -> b: conv 3x3 8", 1),
        ("a: conv 1x1 8 bias=false -> b: conv 3x3 8 /2", 0),
        ("a: conv 2x2 8 /2 -> b: conv 1x1 8 /2", 0),
        ("a: conv 2x1 16 /2x1 -> b: conv 1x2 16 pad=0", 0),
        ("a: conv 3x3 64 -> b: conv 3x3 4", 1),
        ("a: conv 1x1 8 -> bn -> b: conv 3x3 8", 1),
        ("a: conv 3x3 8 -> bn -> scale 0.5 -> b: conv 1x1 8", 0),
    ],
)
def test_one_layer_computes_what_two_do(statement: str, inner: int) -> None:
    """If not exact, it differs in as many border rows as are padded, by hand."""
    text = net(statement, size="8x9x9")
    if " 64 " in statement:
        text = text.replace("8x9x9", "2x9x9")
    found = only(text, "W0118")
    one = re.match(r"`(.+?)`", found.notes[0])
    assert one is not None
    new = built(net(one[1], size=text.split("input ")[1].split()[0])).double()
    two = built(text).double().eval()
    first, last = two.get_submodule("a"), two.get_submodule("b")
    assert isinstance(first, nn.Conv2d)
    assert isinstance(last, nn.Conv2d)
    x = torch.randn(2, *archdsl.loads(text).inputs[0].shape, dtype=torch.float64)
    with torch.no_grad():
        for name, tensor in two.state_dict().items():
            if name.endswith("running_mean"):
                tensor.normal_()
            elif name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
        expected = two(x)
        scale, shift = _folded(two, first, 0.5 if "scale" in statement else 1.0)
        first.weight.mul_(scale.view(-1, 1, 1, 1))
        kernel = _joined(first, last)
        (made,) = (each for each in new.modules() if isinstance(each, nn.Conv2d))
        made.weight.copy_(kernel)
        bias = last.weight.sum((2, 3)) @ shift
        bias = bias if last.bias is None else bias + last.bias
        if made.bias is not None:
            made.bias.copy_(bias)
        else:
            assert not bias.any()
        out = new(x)
    assert ("except at the border" in found.notes[0]) == bool(inner)
    if inner:
        assert not torch.allclose(out, expected)
        out, expected = (
            each[..., inner:-inner, inner:-inner] for each in (out, expected)
        )
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize(
    "statement",
    [
        "conv 3x3 8 -> relu -> conv 1x1 8",
        "conv 3x3 8 groups=8 -> conv 1x1 8",
        "conv 1x1 8 -> conv 3x3 8 groups=2",
        "conv 3x3 8 dilation=2 -> conv 1x1 8",
        "conv 1x7 8 -> conv 7x1 8",
        "conv 1x1 2 -> conv 1x1 8",
        "conv 1x1 8 -> dropout 0.5 -> conv 1x1 8",
        "conv 1x1 8 -> avgpool 2x2 -> conv 1x1 8",
        "conv 1x1 8 -> layernorm -> conv 1x1 8",
        "conv 1x1 8 -> conv 2x2 8 pad=same",  # not equal to any single padding
        "a: conv 1x1 8 -> add { conv 1x1 8 | }",
        "a: conv 1x1 8 -> same a",
        "conv 1x1 8 -> convtranspose 2x2 8 /2",
    ],
)
def test_layers_in_a_row_that_one_does_not_replace(statement: str) -> None:
    assert advice(net(statement, size="8x9x9"), "W0118") == ()


def _folded(owner: nn.Module, first: nn.Conv2d, factor: float) -> tuple[Tensor, Tensor]:
    """Return the layers between two others as a product and a sum, with the bias."""
    scale = torch.ones(first.out_channels, dtype=torch.float64)
    shift = torch.zeros_like(scale) if first.bias is None else first.bias.clone()
    for each in owner.modules():
        if isinstance(each, nn.BatchNorm2d):
            assert each.running_mean is not None
            assert each.running_var is not None
            own = each.weight / (each.running_var + each.eps).sqrt()
            scale, shift = scale * own, (shift - each.running_mean) * own + each.bias
    return scale * factor, shift * factor


# ---- W0119 to W0121: layers without influence ---------------------------------------


@pytest.mark.parametrize(
    "pair",
    [
        ("bn", "bn"),
        ("bn", "instancenorm"),
        ("bn", "groupnorm 4"),
        ("instancenorm affine=true", "instancenorm"),
        ("groupnorm 4", "instancenorm affine=true"),
        ("instancenorm", "groupnorm 4"),
    ],
)
def test_a_norm_that_is_undone_changes_nothing(pair: tuple[str, str]) -> None:
    small = " eps=0.000000000001"
    first, second = (f"{norm}{small}" for norm in pair)
    text = net(f"conv 3x3 4 bias=false -> a: {first} -> b: {second}", size="3x6x6")
    assert advice(text, "W0119")
    owner, without = (
        built(each).double().train()
        for each in (text, text.replace(f"a: {first} ->", ""))
    )
    with torch.no_grad():
        norm = owner.get_submodule("a")
        for tensor in norm.parameters():
            tensor.uniform_(0.5, 2)
    x = torch.randn(3, 3, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(owner(x), without(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "pair",
    [
        ("instancenorm", "bn"),
        ("groupnorm 4", "bn"),
        ("bn", "groupnorm 2"),
        ("layernorm", "bn"),
        ("bn", "layernorm"),
        ("lrn 5 alpha=1", "bn"),
    ],
)
def test_norms_that_are_not_undone(pair: tuple[str, str]) -> None:
    first, second = pair
    text = net(f"conv 3x3 4 bias=false -> {first} -> {second}", size="3x6x6")
    assert advice(text, "W0119") == ()
    owner, without = (
        built(each).double().train() for each in (text, text.replace(f"{first} ->", ""))
    )
    for each in (owner, without):
        torch.manual_seed(2)
        for tensor in each.parameters():
            tensor.data.uniform_(0.5, 2)
    x = torch.randn(3, 3, 6, 6, dtype=torch.float64)
    assert not torch.allclose(owner(x), without(x), rtol=1e-2, atol=1e-2)


def test_a_softmax_of_one_value_is_one() -> None:
    text = net("a: conv 3x3 8 -> relu", "conv 1x1 1 -> softmax")
    assert only(text, "W0120").message.startswith("softmax1 is always 1")
    owner = built(text)
    out = owner(torch.randn(2, 3, 16, 16))
    assert torch.equal(out, torch.ones_like(out))
    out.sum().backward()
    assert all(each.grad is None or not each.grad.any() for each in owner.parameters())
    assert advice(net("conv 1x1 2 -> softmax"), "W0120") == ()


@pytest.mark.parametrize("word", ["relu", "relu6", "sigmoid", "hardsigmoid", "softmax"])
def test_logits_that_are_cut_are_alike(word: str) -> None:
    text = net(f"{word} -> softmax", size="4")
    assert advice(text, "W0121")
    low, lower = torch.tensor([[-30.0, 1, 2, 3]]), torch.tensor([[-60.0, 1, 2, 3]])
    torch.testing.assert_close(built(text)(low), built(text)(lower))
    free = net("tanh -> softmax", size="4")
    assert advice(free, "W0121") == ()


# ---- W0122: equivalent layers at this size
# -----------------------------------------------


@pytest.mark.parametrize("word", ["avgpool", "maxpool"])
def test_a_pool_of_any_size_computes_the_same(word: str) -> None:
    text = net("conv 3x3 4 -> relu", f"{word} 6x9 -> conv 1x1 4", size="3x6x9")
    edited = fixed(text, "W0122")
    assert f"adaptive{word} 1x1" in edited.text
    old, new = built(text), built(edited.text)
    x = torch.randn(2, 3, 6, 9)
    torch.testing.assert_close(new(x), old(x))
    assert new(torch.randn(2, 3, 12, 13)).shape == (2, 4, 1, 1)


@pytest.mark.parametrize(
    "pool",
    [
        "avgpool 6x8",
        "avgpool 6x9 pad=1",
        "maxpool 2x9",
        "maxpool 6x9 /1 pad=same",
        "avgpool 6x9 if false",
    ],
)
def test_pools_that_are_not_global(pool: str) -> None:
    text = net("conv 3x3 4 -> relu", pool, "conv 1x1 4", size="3x6x9")
    assert advice(text, "W0122") == ()


# ---- W0123: norms of one value ---------------------------------------------------


def test_batch_norm_of_one_value_fails_in_training() -> None:
    text = case("norm_of_one_value")
    found = only(text, "W0123")
    assert found.layers == ("bn3",)
    assert found.message == (
        "training with a batch of 1 fails at bn3: it has one value for each channel"
    )
    x = torch.randn(1, 64, 33, 33)
    owner = built(text)
    owner.eval()(x)
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        owner.train()(x)
    owner.train()(torch.randn(2, 64, 33, 33))
    larger = text.replace("adaptiveavgpool 1x1", "adaptiveavgpool 1x2")
    assert advice(larger, "W0123") == ()
    built(larger).train()(x)


@given(
    size=st.sampled_from(("3x4x4", "3x1x1", "3x1x2", "3x2x2")),
    statement=st.sampled_from(
        ("bn", "conv 3x3 4 /2 -> bn", "maxpool 2x2 /2 pad=1 -> bn", "flatten -> bn")
    ),
)
@settings(max_examples=30, deadline=None)
def test_batch_norms_that_fail_are_all_found(size: str, statement: str) -> None:
    text = net(statement, size=size)
    owner = built(text).train()
    shape = archdsl.loads(text).inputs[0].shape
    try:
        owner(torch.randn(1, *shape))
        fails = False
    except ValueError as error:
        assert "more than 1 value per channel" in str(error)
        fails = True
    assert bool(advice(text, "W0123")) == fails


@pytest.mark.parametrize(
    ("statement", "constant"),
    [
        ("adaptiveavgpool 1x1 -> groupnorm 4", True),
        ("adaptiveavgpool 1x1 -> groupnorm 2", False),
        ("adaptiveavgpool 1x2 -> groupnorm 4", False),
        ("flatten -> linear 4 -> groupnorm 4", True),
        ("flatten -> linear 1 -> layernorm", True),
        ("conv 1x1 1 -> layernorm", True),
        ("conv 1x1 2 -> layernorm", False),
    ],
)
def test_what_is_the_same_for_all_inputs(statement: str, constant: bool) -> None:
    text = net(f"conv 3x3 4 -> {statement}", size="3x4x4")
    found = advice(text, "W0123")
    assert bool(found) == constant
    for training in (False, True):
        owner = built(text).train(training)
        with torch.no_grad():
            first, second = (owner(torch.randn(2, 3, 4, 4)) for _ in range(2))
        assert torch.allclose(first, second, atol=1e-5) == constant
        if any("batch of 1" in note for each in found for note in each.notes):
            with pytest.raises(ValueError, match="more than 1 value per channel"):
                owner(torch.randn(1, 3, 4, 4))
        else:
            owner(torch.randn(1, 3, 4, 4))


def test_an_instance_norm_of_one_value_is_refused_at_once() -> None:
    with pytest.raises(archdsl.SpecError, match="a single position has no variance"):
        archdsl.loads(net("adaptiveavgpool 1x1 -> instancenorm"))


# ---- W0124: zeros in a maximum ---------------------------------------------------


def test_zeros_before_a_pool_win_over_negative_values() -> None:
    text = case("same_maxpool")
    found = only(text, "W0124")
    assert found.span.text == "maxpool 2x2 /1"
    assert (
        found.help
        == "let the pool pad: remove zeropad1, and write `pad=same` in maxpool1"
    )
    padded = functional.pad(torch.full((1, 1, 2, 2), -1.0), (0, 1, 0, 1))
    assert functional.max_pool2d(padded, 2, 1).max() == 0
    assert advice(text.replace("leakyrelu 0.1", "relu"), "W0124") == ()
    edited = text.replace("    zeropad right=1 bottom=1\n", "").replace(
        "maxpool 2x2 /1", "maxpool 2x2 /1 pad=same"
    )
    assert advice(edited, "W0124") == ()
    old, new = built(text).eval(), built(edited).eval()
    x = torch.randn(1, 3, 13, 13)
    with torch.no_grad():
        for each in (old, new):  # all inputs of the pool are negative
            bn = next(m for m in each.modules() if isinstance(m, nn.BatchNorm2d))
            bn.weight.zero_()
            bn.bias.fill_(-1)
        assert old(x).max() == 0
        assert new(x).max() == pytest.approx(-0.1)


_BEFORE = ("conv 1x1 3", "relu", "sigmoid", "tanh", "silu", "bn", "scale 2")
_MORE = ("scale (-1)", "add { relu | }", "concat { sigmoid | }", "dropout 0.5")


@given(st.lists(st.sampled_from(_BEFORE + _MORE), max_size=4), st.integers(0, 3))
@settings(max_examples=80, deadline=None)
def test_maps_that_are_never_negative_take_zeros(parts: list[str], seed: int) -> None:
    before = " -> ".join(["identity", *parts])
    pool = "zeropad left=1 right=1 top=1 bottom=1 -> maxpool 3x3 /1"
    text = net(f"{before} -> {pool}", size="3x6x6")
    torch.manual_seed(seed)
    owner = archdsl.build(archdsl.loads(text)).train()
    own = archdsl.build(
        archdsl.loads(net(f"{before} -> maxpool 3x3 /1 pad=1", size="3x6x6"))
    ).train()
    own.load_state_dict(owner.state_dict())
    x = 3 * torch.randn(4, 3, 6, 6) - 3
    outs = []
    for each in (owner, own):
        torch.manual_seed(seed)
        outs.append(each(x))
    if not advice(text, "W0124"):
        assert torch.equal(*outs)


@pytest.mark.parametrize(
    ("pad", "pool", "help"),
    [
        ("left=1 right=1 top=1 bottom=1", "maxpool 3x3 /2", "pad=1"),
        ("left=1 right=1", "maxpool 1x3 /1", "pad=same"),
        ("left=2 right=2 top=1 bottom=1", "maxpool 3x5 /4", "pad=1x2"),
        ("right=1 bottom=1", "maxpool 3x3 /2", "pad=same"),
        ("left=1 top=1", "maxpool 2x2 /1", "remove zeropad1, "),
        ("right=1 bottom=1", "maxpool 2x2 /1 pad=1", "remove zeropad1, "),
        ("right=1 bottom=1", "adaptivemaxpool 2x2", "remove zeropad1, "),
        ("right=1 bottom=1", "globalmaxpool", "remove zeropad1, "),
    ],
)
def test_how_a_pool_is_to_pad(pad: str, pool: str, help: str) -> None:
    text = net(f"conv 3x3 4 -> zeropad {pad} -> {pool}")
    assert help in (only(text, "W0124").help or "")
    if help.startswith("pad="):
        own = net(f"conv 3x3 4 -> {pool} {help}")
        shapes = [archdsl.loads(each).outputs[0].shape for each in (text, own)]
        assert shapes[0] == shapes[1]
        x = torch.rand(1, 3, 16, 16)
        old, new = built(text), built(own)
        with torch.no_grad():  # without negative values, zeros do no harm
            for each in (old, new):
                for tensor in each.parameters():
                    tensor.abs_()
        torch.testing.assert_close(new(x), old(x))


# ---- W0115: the shortcut of ResNet-D --------------------------------------


def test_the_shortcut_of_resnet_d_looks_half_a_position_beside_its_body() -> None:
    """He et al. 2018, "Bag of tricks", figure 2c; by the centres of gradients."""
    text = net(
        "residual { conv 1x1 4 -> relu -> conv 3x3 4 /2 -> relu -> conv 1x1 4 "
        "| avgpool 2x2 -> conv 1x1 4 }",
        size="4x12x12",
    )
    found = only(text, "W0115")
    assert "units are 0.5 positions of the input apart" in found.message
    assert (
        "avgpool1, `avgpool 2x2 /2`, shifts its units by 0.5 positions" in found.notes
    )
    x = torch.ones(1, 1, 12, requires_grad=True)
    body = functional.conv1d(x, torch.ones(1, 1, 3), None, 2, 1)
    pooled = functional.avg_pool1d(x, 2)
    centres = []
    for branch in (body, pooled):
        (grad,) = torch.autograd.grad(branch[0, 0, 2], x)
        share = grad[0, 0] / grad.sum()
        centres.append(float((share * torch.arange(12)).sum()))
    assert centres == [4, 4.5]
    # A window of odd size keeps the alignment.
    aligned = text.replace("avgpool 2x2", "avgpool 3x3 /2 pad=1")
    assert advice(aligned, "W0115") == ()


# ---- networks of any kind --------------------------------------------------------

_CLAIMS = {"W0116", "W0123"}


@pytest.mark.parametrize("tens", range(50))
def test_random_specs_are_looked_at_and_claims_about_them_hold(tens: int) -> None:
    for number in range(10 * tens, 10 * tens + 10):
        text = specimen(number)
        module = load_text(text)
        made = networks(module)
        found = lint(module.file, made).advice
        for each in found:
            assert each.message
            assert each.layers
        if _CLAIMS & {each.code for each in found}:
            _check(text, made[0])


def _check(text: str, network: Network) -> None:
    """Check the advice about a network against the module."""
    owner = built(text).train()
    one = [torch.randn(1, *port.shape) for port in network.inputs]
    norms = findings(network, "W0123")
    fails = any("batch of 1" in " ".join((f.message, *f.notes)) for f in norms)
    try:
        owner(*one)
        assert not fails
    except ValueError as error:
        assert "more than 1 value per channel" in str(error)
        assert fails
    two = [torch.randn(2, *port.shape) for port in network.inputs]
    for out in named_outputs(network, owner(*two)).values():
        if not out.isfinite().all():
            return  # gradients after a root of a negative number are NaN
        if out.requires_grad:
            out.square().sum().backward(retain_graph=True)
    for each in findings(network, "W0116"):
        weight = owner.get_submodule(each.node.step.path).weight
        assert isinstance(weight, Tensor)
        if weight.grad is not None:
            assert idle(weight) >= each.saving.params


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)
@given(sketches())
def test_every_rule_looks_at_any_network(sketch: Sketch) -> None:
    network = sketch.network()
    for code in RULES:
        for each in findings(network, code):
            assert each.message


@pytest.mark.parametrize("form", ["", " form=vector", " form=batch", " form=scalar"])
@pytest.mark.parametrize("shape", ["8", "8x6", "8x6x6", "8x3x6x6"])
def test_factors_of_channels_are_no_kernel(form: str, shape: str) -> None:
    text = f"arch 1\nnetwork Net {{ input {shape}; layerscale 0.5{form}; tanh }}\n"
    module = load_text(text)
    assert not lint(module.file, networks(module)).advice
