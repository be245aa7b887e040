"""Modules imported as specs: what they compute, how specs look, what is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import archdsl
from archdsl.backends.importer import NotImported
from archdsl.backends.importer.forms import perform
from archdsl.backends.importer.proof import prove
from archdsl.cli import main
from archdsl.layer import Layer, Mismatch, all_kinds
from archdsl.spectral import Spectral
from archdsl.values import Last, Shape
from tests import modules
from tests.oracle import filled, torchvision
from tests.strategies import KINDS, layers_with_inputs

pytestmark = pytest.mark.usefixtures("quick_on_meta")

IMAGE = (3, 32, 32)


def text_of(module: nn.Module, *inputs: tuple[int, ...]) -> str:
    """Return the body of the network, without the lines before it."""
    found = archdsl.from_module(module, list(inputs or (IMAGE,)))
    assert len(found.compared) >= 3
    return found.text


def same(module: nn.Module, text: str) -> None:
    """Check by hand that the built module computes the same as the original."""
    built = archdsl.build(archdsl.loads(text))
    built.load_state_dict(module.state_dict())
    x = torch.randn(2, *IMAGE)
    torch.testing.assert_close(built.eval()(x), module.eval()(x))


class Unit(nn.Module):
    """A residual unit whose activation is used twice, the second time in place."""

    def __init__(self, channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride != 1 or channels != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride, bias=False),
                nn.BatchNorm2d(width),
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


class Small(nn.Module):
    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
        self.stage = nn.Sequential(Unit(8, 8), Unit(8, 8), Unit(8, 16, 2))
        self.fc = nn.Linear(16, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage(self.stem(x))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


SMALL = """arch 1

# Unit, of {module}.
block unit<width, stride = 1> {{
    residual {{
        conv 3x3 width /stride -> bn -> relu
        conv 3x3 -> bn
    }} -> relu
}}

# Small, imported from {module}.
network Small {{
    input 3x32x32
    stem: seq {{ conv 3x3 8 /2 -> relu }}
    stage: seq {{ unit<8>  x2; unit<16, stride = 2> }}
    globalavgpool
    fc: linear 10
}}
"""


def test_a_module_becomes_a_spec_as_one_would_write_it() -> None:
    assert text_of(Small()) == SMALL.format(module=__name__)
    same(Small(), text_of(Small()))


class Grown(nn.Module):
    """Dense layers: each reads the outputs of all earlier ones."""

    def __init__(self, channels: int, number: int) -> None:
        super().__init__()
        for n in range(number):
            self.add_module(f"layer{n + 1}", nn.Conv2d(channels + 4 * n, 4, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        found = [x]
        for layer in self.children():
            found.append(layer(torch.cat(found, 1)))
        return torch.cat(found, 1)


def test_numbers_of_labels_become_loops() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = Grown(3, 3), Grown(15, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x))

    text = text_of(Net())
    assert "block grown<count> {\n    for i in range(count) {" in text
    assert "layer{i + 1}: conv 3x3 4" in text
    assert "first: grown<3>\n    second: grown<4>\n" in text


class Aggregated(nn.Module):
    """Parts of a list whose results are all concatenated; the first has a name."""

    def __init__(self, channels: int, number: int) -> None:
        super().__init__()
        self.b1 = nn.Conv2d(channels, 4, 1)
        for n in range(2, number + 2):
            self.add_module(f"b{n}", nn.Conv2d(4, 4, 1, bias=False))
        self.mid = nn.ModuleList(nn.Conv2d(4, 4, 3, 1, 1) for _ in range(number))

    def forward(self, x: Tensor) -> Tensor:
        for name, part in self.named_children():
            x = part(x) if name != "mid" else x
        found = []
        for part in self.mid:
            x = part(x)
            found.append(x)
        return torch.cat(found, 1)


def test_loops_may_start_anywhere_and_run_once() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            parts = [Aggregated(3, 4), Aggregated(16, 5), Aggregated(20, 4)]
            self.parts = nn.Sequential(*parts)
            self.one, self.two = Grown(16, 1), Grown(20, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.two(self.one(self.parts(x)))

    text = text_of(Net())
    assert text.count("\nblock ") == 3
    assert "for i in range(count) {\n        b{i + 2}: conv 1x1 bias=false\n" in text
    assert "mid.{i}: conv 3x3\n" in text
    assert "concat { @mid.{i} for i in range(count) }" in text
    assert "aggregated<4>\n        aggregated<5>\n" in text
    assert "concat { | layer1: conv 3x3 4 }\n}" in text


def test_what_takes_turns_is_one_repeat() -> None:
    def turns() -> nn.Module:
        pairs = [(nn.Conv2d(4, 4, 1), nn.MaxPool2d(3, 1, 1)) for _ in range(3)]
        return nn.Sequential(*(part for pair in pairs for part in pair))

    text = text_of(nn.Sequential(nn.Conv2d(3, 4, 1), turns(), turns()))
    assert "    seq { conv 1x1 -> maxpool 3x3 /1 pad=1  x3 }  x2\n" in text


def test_branches_are_repeated_too() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.Sequential(*(Unit(3, 3) for _ in range(3)))

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.blocks(x), x], 1)

    assert "concat { blocks: seq { unit  x3 } | }" in text_of(Net())


class Widened(nn.Module):
    """An inverted residual with a gate: widths that depend on the input channels."""

    def __init__(self, channels: int, width: int, expand: int) -> None:
        super().__init__()
        inner = expand * channels
        self.widen = nn.Conv2d(channels, inner, 1, bias=False)
        self.norm = nn.BatchNorm2d(inner)
        self.fc1 = nn.Conv2d(inner, channels // 4, 1)
        self.fc2 = nn.Conv2d(channels // 4, inner, 1)
        self.narrow = nn.Conv2d(inner, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.widen(x)))
        y = F.relu(self.fc1(x.mean((2, 3), keepdim=True)))
        return self.narrow(x * torch.sigmoid(self.fc2(y)))


def test_what_flows_in_explains_widths() -> None:
    units = [Widened(8, 8, 2), Widened(8, 12, 6), Widened(12, 12, 6), Widened(12, 8, 6)]
    text = text_of(nn.Sequential(nn.Conv2d(3, 8, 1), *units))
    assert "block widened<width, expand = 6> {\n    inputs = channels\n" in text
    assert "widen: conv 1x1 (expand * channels) -> norm: bn -> relu\n" in text
    assert "fc1: conv 1x1 (inputs // 4) -> relu\n" in text
    assert "narrow: conv 1x1 width\n" in text
    assert "    widened<8, expand = 2>\n    widened<12>  x2\n" in text


def test_words_in_the_names_of_classes() -> None:
    names = {
        "RepViTBlock": "rep_vit_block",
        "StarReLU": "star_relu",
        "ConvBNAct": "conv_bn_act",
        "MBConv": "mb_conv",
        "ResNetStage2": "res_net_stage2",
    }
    for cls, name in names.items():
        part = type(cls, (Unit,), {})(8, 8)
        net = nn.Sequential(nn.Conv2d(3, 8, 1), part)
        assert f"\nblock {name} {{" in text_of(net)


def test_a_sum_of_several_is_one() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 3, 3, 1, 1), nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.a(x) + self.b(x) + x)

    text = text_of(Net())
    assert "    add { a: conv 3x3 | b: conv 1x1 | } -> relu\n" in text
    same(Net(), text)


@pytest.mark.parametrize("turned", [False, True])
def test_a_distance_has_two_sides(turned: bool) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 3, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            a, b = self.a(x), self.b(x)
            return torch.abs(b - a if turned else a - b)

    assert "difference {" in text_of(Net())


class Scaled(nn.Module):
    """Widths that are multiples and fractions of others, and an optional stride."""

    def __init__(self, channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.a = nn.Conv2d(channels, 2 * channels, 1)
        self.b = nn.Conv2d(2 * channels, 2 * channels, 3, stride, 1, 1, 2 * channels)
        self.c = nn.Conv2d(2 * channels, width, 1)
        self.d = nn.Conv2d(width, width // 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.d(self.c(self.b(self.a(x))))


def test_numbers_are_written_over_channels_and_parameters() -> None:
    module = nn.Sequential()
    parts = (Scaled(3, 8), Scaled(4, 12, 2), Scaled(6, 8), Scaled(4, 20))
    for number, part in enumerate(parts):
        module.add_module(f"part{number}x", part)
    text = text_of(module)
    assert "block scaled<width, stride = 1> {" in text
    assert "a: conv 1x1 (2 * channels)\n" in text
    assert "b: conv 3x3 /stride groups=channels\n" in text
    assert "c: conv 1x1 width\n" in text and "d: conv 1x1 (channels // 2)\n" in text
    assert "part1x: scaled<12, stride = 2>\n" in text


def test_no_kind_is_forgotten() -> None:
    """Every kind is recognised from its calls in torch."""
    from archdsl.backends.importer.forms import _spectral_kinds, forms

    known = {form.kind.word for some in forms().values() for form in some}
    # A layer that does nothing makes no call; the other kind is several products and
    # sums. Spectral norm is recognised by the parametrization around a layer.
    normed = {kind.word for kind in all_kinds() if issubclass(kind, Spectral)}
    assert {kind.word for kind in all_kinds()} - known == {
        "identity",
        "inputscale",
        *normed,
    }
    assert {kind.word for kind in _spectral_kinds().values()} == normed
    assert callable(perform)


@pytest.mark.parametrize("word", KINDS)
def test_what_every_kind_calls_is_found(word: str) -> None:
    """With any arguments, on maps of all axes, as a module and as a function."""
    from archdsl.backends.importer.forms import layers_of

    if word in ("identity", "inputscale") or issubclass(KINDS[word], Spectral):
        return  # as above
    accepted = []

    @settings(max_examples=40, deadline=None)
    @given(layers_with_inputs(word), st.booleans())
    def check(case: tuple[Layer, tuple[Shape, ...]], as_module: bool) -> None:
        op, inputs = case
        try:
            output = op.shape(*inputs)
            made = perform(op, inputs, as_module)
        except (Mismatch, RuntimeError, ValueError, AssertionError):
            return  # torch refuses some arguments, such as too much padding
        if any(isinstance(shape, Last) and set(shape) == {1} for shape in inputs):
            return  # no order of axes is seen
        if word == "stochasticdepth" and not 1e-3 < vars(op)["p"] < 0.9:
            return  # of 1 - p, hardly a digit is left
        if not made.calls:
            return  # it does nothing
        accepted.append(op)
        shapes = dict(enumerate(inputs))
        for call in made.calls:
            shapes.update(zip(call.gives, [s[1:] for s in call.shapes], strict=True))
        shapes[made.result] = output
        asked = list(range(len(inputs)))
        assert layers_of(made.calls, shapes, asked, lambda calls: True), (op, inputs)

    check()
    assert accepted, "no example was accepted"


class Functions(nn.Module):
    """Functions instead of modules, and weights of a module that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.scale = nn.Parameter(torch.full((6, 1, 1), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(x, self.conv.weight, self.conv.bias, padding=1)
        x = self.norm(F.relu_(x)) * self.scale
        gate = torch.sigmoid(x.mean((2, 3), keepdim=True))
        x = (x * gate).chunk(2, 1)[0] + x[:, 3:]
        x = F.max_pool2d(x, 2, padding=1)
        return torch.cat([x, F.avg_pool2d(x, 3, 1, 1)], dim=-3)


class Shared(nn.Module):
    """One tower that is used twice, and a module that returns several values."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(8, 4, 1)
            self.b = nn.Conv2d(8, 4, 1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.a(x), self.b(x)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.again = nn.Conv2d(8, 8, 3, padding=1)
        self.two = self.Two()

    def forward(self, x: Tensor) -> Tensor:
        x = self.again(F.relu(self.again(self.first(x))))
        a, b = self.two(x)
        return torch.sigmoid(a) * b


class Gaps(nn.Module):
    """Gaps in the numbers of a Sequential, and parts called one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 4, 1),
            nn.Identity(),
            nn.Dropout(0.0),
            nn.ReLU(),
            nn.Conv2d(4, 4, 1),
        )
        self.parts = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        found = []
        for part in self.parts:
            x = part(x)
            found.append(x)
        return torch.cat(found, 1)


class Order(nn.Module):
    """Parts that are registered in another order than that in which they run."""

    def __init__(self) -> None:
        super().__init__()
        self.short = nn.Conv2d(3, 4, 1)
        self.long = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.long(x)
        return y + self.short(x)


class Drops(nn.Module):
    """Layers that only act in training, and a head for training."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Conv2d(4, 2, 1))
        self.out = nn.Conv2d(4, 5, 1)

    def forward(self, x: Tensor) -> Any:
        x = torchvision.ops.stochastic_depth(self.conv(x), 0.25, "row", self.training)
        y = self.out(F.dropout(x, 0.1, self.training))
        return (y, self.head(x)) if self.training else y


class Nested(nn.Module):
    """Nested modules that return several values, and numbered parts of them."""

    class Pair(nn.ModuleDict):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self["0"], self["1"] = nn.Conv2d(channels, 4, 1), nn.Conv2d(channels, 4, 1)

        def forward(self, x: Tensor) -> list[Tensor]:
            return [part(x) for part in self.values()]

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pair = Nested.Pair(3)

        def forward(self, x: Tensor) -> list[Tensor]:
            return self.pair(x)

    def __init__(self) -> None:
        super().__init__()
        self.both = self.Both()
        self.mixed = nn.ModuleList([nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, 3, padding=1)])

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.both(x)
        return torch.cat([m(y) for m, y in zip(self.mixed, (a, b), strict=True)], 1) * a


class Tapped(nn.Module):
    """A sum with weights in its branches, whose result is read twice, further on."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1)
        self.c = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.a(x)
        y = self.c(F.relu(self.b(x)))
        return torch.cat([x, y, x], 1)


class Forms(nn.Module):
    """Other ways to write layer kinds."""

    class Gate(nn.Module):
        """ECA-Net's gate: a convolution along the channels."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x.mean((2, 3)).view(x.shape[0], 1, -1))
            return x * torch.sigmoid(y).view(x.shape[0], -1, 1, 1).expand_as(x)

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.gate = self.Gate()
        self.skip = nn.Sequential(nn.Identity(), nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8))
        self.gain = nn.Parameter(torch.tensor(0.5))
        self.beta = nn.Parameter(torch.full((1, 8, 1, 1), 0.5))
        self.gamma = nn.Parameter(torch.full((8,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.gate(self.conv(x)).mul_(self.gain)
        x = x * self.beta + self.skip(x)
        x = x.mul(self.gamma.reshape(1, -1, 1, 1))
        a, b, c = torch.split(x, [3, 3, 2], dim=1)
        total = 0
        for part in (a, b, x[:, -3:, :, :]):
            total = total + part
        return torch.cat([total / 3.0, c], 1)


class Weighed(nn.Module):
    """Split attention: a softmax over groups of channels (Zhang et al. 2020)."""

    class Radix(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = x.view(x.shape[0], 1, 2, -1).transpose(1, 2)
            return F.softmax(x, dim=1).reshape(x.shape[0], -1)

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1)
        self.fc, self.softmax = nn.Conv2d(6, 12, 1), self.Radix()

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        batch, channels, height, width = x.shape
        x = x.reshape(batch, 2, channels // 2, height, width)
        found = self.softmax(self.fc(x.sum(dim=1).mean((2, 3), keepdim=True)))
        found = found.view(batch, -1, 1, 1).reshape(batch, 2, channels // 2, 1, 1)
        return (x * found).sum(dim=1)


class Chosen(nn.Module):
    """Selective kernels (Li et al. 2019), a softmax over stacked maps; a shuffle."""

    class Choice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Conv2d(4, 12, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.fc(x.sum(1).mean((2, 3), keepdim=True))
            return torch.softmax(y.view(x.shape[0], 3, 4, 1, 1), dim=1)

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Conv2d(3, 4, k, 1, k // 2) for k in (1, 3, 5))
        self.choice = self.Choice()

    def forward(self, x: Tensor) -> Tensor:
        x = torch.stack([part(x) for part in self.parts], dim=1)
        x = torch.sum(x * self.choice(x), dim=1)
        batch, channels, height, width = x.shape
        x = x.view(batch, 2, channels // 2, height, width)
        return x.transpose(1, 2).reshape(batch, channels, height, width)


def test_padding_that_depends_on_the_size_is_told_from_one_that_does_not() -> None:
    class Same(nn.Conv2d):
        """Padding as in TensorFlow."""

        def forward(self, x: Tensor) -> Tensor:
            more = [(n - 1) // 2 * 2 + 3 - n for n in x.shape[2:]]
            (top, bottom), (left, right) = ((n // 2, n - n // 2) for n in more)
            x = F.pad(x, [left, right, top, bottom], value=0)
            return F.conv2d(x, self.weight, self.bias, self.stride)

    class Fixed(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(F.pad(x, [0, 1, 0, 1]), self.weight, self.bias, self.stride)

    assert "conv 3x3 4 /2 pad=same" in text_of(nn.Sequential(Same(3, 4, 3, 2)))
    module = nn.Sequential()
    module.add_module("conv", Fixed(3, 4, 3, 2))
    text = text_of(module)
    assert "zeropad right=1 bottom=1" in text and "pad=same" not in text


@pytest.mark.parametrize(
    "make",
    [
        *(Functions, Shared, Gaps, Order, Drops, Nested, Tapped, Forms),
        *(Weighed, Chosen),
    ],
)
def test_modules_come_back_equal(make: type[nn.Module]) -> None:
    module = make()
    same(module, text_of(module))


def test_branches_within_branches_that_are_joined_late_stay_together() -> None:
    class Fanned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
            self.b1, self.b2 = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
            self.c = nn.Conv2d(3, 3, 1)
            self.c1, self.c2 = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            a, b = self.a(x), self.b(x)
            some = self.b1(b), self.b2(b)
            c = self.c(x)
            more = self.c1(c), self.c2(c)
            return torch.cat([a, torch.cat(some, 1), torch.cat(more, 1)], 1)

    text = text_of(Fanned())
    assert text.count("concat {") == 3 and "@" not in text
    same(Fanned(), text)


def test_groups_that_compete_need_no_axis() -> None:
    text = text_of(Weighed())
    found = "groupsum 2\n        adaptiveavgpool 1x1\n        fc: conv 1x1 12"
    assert f"{found} -> softmax of=2\n" in text and "    groupsum 2\n" in text
    text = text_of(Chosen())
    assert "fc: conv 1x1 12 -> softmax of=3" in text
    assert "    groupsum 3\n    shuffle 2\n}" in text


def test_a_leading_gap_does_not_dissolve_a_sequential() -> None:
    text = text_of(Forms())
    assert "skip: seq { identity -> conv 1x1" in text
    assert "gamma: layerscale form=vector" in text
    assert "gain: layerscale form=scalar" in text
    assert "globalavgpool\n        reshape sequence\n        conv: conv 3 " in text


@pytest.mark.parametrize(("axes", "size"), [(1, (2, 16)), (3, (2, 4, 16, 16))])
def test_sequences_and_volumes_come_back(axes: int, size: tuple[int, ...]) -> None:
    conv, pool = getattr(nn, f"Conv{axes}d"), getattr(nn, f"MaxPool{axes}d")

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.pool = conv(2, 4, 3, 2, 1, bias=False), pool(3, 2, 1)
            self.norm = getattr(nn, f"BatchNorm{axes}d")(4)
            self.fc = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.pool(F.relu(self.norm(self.a(x))))
            return self.fc(x.mean([*range(2, axes + 2)]))

    text = text_of(Net(), size)
    sizes = "x".join("3" * axes)
    assert f"a: conv {sizes} 4 /2 -> norm: bn -> relu" in text
    assert f"maxpool {sizes} /2 pad=1" in text and "globalavgpool" in text


def test_copies_of_a_repeat_with_other_widths_say_theirs() -> None:
    """A width that equals the input channels in only one copy is not left out."""

    class Wide(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, 8, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv2(self.conv1(x))

    class Stage(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(Wide(4), Wide(8), Wide(8))

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.stage = nn.Conv2d(3, 4, 1), Stage()

        def forward(self, x: Tensor) -> Tensor:
            return self.stage(self.stem(x))

    text = text_of(Net())
    assert "wide  x3" in text and "channels" not in text


def test_activations_become_parameters() -> None:
    class Acted(nn.Module):
        def __init__(self, channels: int, act: nn.Module) -> None:
            super().__init__()
            self.conv, self.act = nn.Conv2d(channels, 4, 1), act

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.conv(x))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = Acted(3, nn.ReLU()), Acted(4, nn.Hardswish())

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x))

    text = text_of(Net())
    assert "block acted<act: kind> {\n    conv: conv 1x1 4 -> act\n}" in text
    assert "a: acted<relu>\n    b: acted<hardswish>" in text


class Early(nn.Module):
    """A shortcut that is registered first, but reads the output of a later part."""

    def __init__(self) -> None:
        super().__init__()
        self.short = nn.Conv2d(3, 3, 1)
        self.norm, self.conv = nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return self.conv(x) + self.short(x)


def test_another_order_of_keys_is_said() -> None:
    text = text_of(Early())
    assert "    register short\n" in text


def test_what_only_training_shows_is_there() -> None:
    text = text_of(Drops())
    assert "stochasticdepth 0.25" in text
    assert "dropout 0.1" in text
    assert "training output" in text


def test_several_inputs_and_outputs() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left = nn.Conv2d(3, 4, 1)
            self.right = nn.Conv2d(1, 4, 1)

        def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
            a, b = self.left(x), self.right(y)
            return {"sum": a + b, "left": a}

    text = text_of(Pair(), (3, 16, 16), (1, 16, 16))
    network = archdsl.loads(text)
    assert [port.shape for port in network.inputs] == [(3, 16, 16), (1, 16, 16)]
    assert [port.shape for port in network.outputs] == [(4, 16, 16)] * 2


def test_a_bare_sequential_becomes_a_network_of_numbered_parts() -> None:
    module = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.Identity(), nn.MaxPool2d(2), Unit(8, 8), nn.AdaptiveAvgPool2d(1)),
        *(nn.Flatten(), nn.Linear(8, 5)),
    )
    text = text_of(module)
    assert "network Sequential seq {" in text
    same(module, text)
    named = nn.Sequential()
    named.add_module("stem", nn.Conv2d(3, 4, 1))
    assert " seq {" not in text_of(named)


# ---- modules that become foreign layers -----------------------------------------


class Standard(nn.Conv2d):
    """A convolution whose weight is standardised (Qiao et al. 2019, equation 7)."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel_size: int,
        stride: int = 1,
        padding: Any = "SAME",
        bias: bool = False,
        gamma: float = 1.0,
    ) -> None:
        padding = kernel_size // 2 if padding == "SAME" else padding
        super().__init__(inputs, outputs, kernel_size, stride, padding, bias=bias)
        self.scale = gamma * self.weight[0].numel() ** -0.5
        self.padding = (0, 0)  # not what was passed in
        self.around = padding

    def forward(self, x: Tensor) -> Tensor:
        flat = self.weight.reshape(1, self.out_channels, -1)
        even = F.batch_norm(flat * self.scale, None, None, training=True, momentum=0)
        even = even.reshape_as(self.weight)
        return F.conv2d(x, even, self.bias, self.stride, self.around)


class Response(nn.Module):
    """A response norm; no attribute tells its layout."""

    def __init__(self, dim: int, first: bool = False, rate: Any = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.axes = (2, 3) if first else (1, 2)
        self.sizes = (1, -1, 1, 1) if first else (1, 1, 1, -1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight.view(self.sizes) * x.norm(
            p=2, dim=self.axes, keepdim=True
        )


class Halved(nn.Module):
    """Every second row and column; no attribute tells the channels."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.flip(x, (2,))[:, :, ::2, ::2]


class Opaque(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = Standard(3, 8, 3, 2, gamma=1.7)
        self.halved = Halved()
        units = (Standard(8, 16, 3, gamma=1.7), Response(16, first=True))
        self.body = nn.Sequential(*units, Standard(16, 16, 1, bias=True), nn.ReLU())
        self.again = Standard(16, 16, 1, bias=True)
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.again(self.body(self.halved(self.stem(x))))
        x = self.fc(x.mean((2, 3)))
        return x


def test_modules_of_unknown_functions_are_foreign_layers() -> None:
    found = archdsl.from_module(Opaque(), "3x33x32")
    assert (found.opaque, found.layers) == (6, 9)
    # Two calls of one class that only differ in numbers of channels share an op.
    assert found.text.count("\nop ") == 5
    assert 'args = [3, width, 3, 2, "SAME", false, 1.7]' in found.text
    network = archdsl.loads(found.text)
    assert [tuple(map(int, step.shape)) for step in network.steps()][:3] == [
        *((8, 17, 16), (8, 9, 8), (16, 9, 8))
    ]
    facts = archdsl.analyze(network)
    weights = 27 * 8 + 72 * 16 + 16 + 2 * (16 * 16 + 16) + 17 * 5
    assert facts.params == weights == sum(p.numel() for p in Opaque().parameters())
    assert facts.macs == 27 * 8 * 17 * 16 + (72 * 16 + 2 * 256) * 9 * 8 + 16 * 5
    wide = archdsl.analyze(archdsl.loads(found.text, input="3x70x71"))
    assert wide.macs == 27 * 8 * 35 * 36 + (72 * 16 + 2 * 256) * 18 * 18 + 16 * 5


class Context(nn.Module):
    """A summary of the whole map (Cao et al. 2019, section 4.2), for each position."""

    def __init__(
        self,
        channels: int,
        add: bool = False,
        scale: bool = True,
        groups: int = 2,
        width: int | None = None,
    ) -> None:
        super().__init__()
        self.where = nn.Conv2d(channels, 1, 1)
        width = width or channels // groups
        self.one, self.two = nn.Linear(channels, width), nn.Linear(width, channels)
        self.joins = (add, scale)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.where(x).flatten(2).softmax(-1)
        found = (x.flatten(2) @ weights.transpose(1, 2)).squeeze(-1)
        found = self.two(F.relu(self.one(found)))[:, :, None, None]
        add, scale = self.joins
        x = x * found if scale else x
        return x + found if add else x


def test_hidden_arguments_of_foreign_layers_are_found() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 1)
            self.plain, self.both = Context(8), Context(8, True, True)
            self.added, self.small = Context(8, True, False), Context(8, width=5)

        def forward(self, x: Tensor) -> Tensor:
            return self.small(self.added(self.both(self.plain(self.conv(x)))))

    text = text_of(Net())
    given = [line.strip() for line in text.splitlines() if "args" in line]
    assert given == [
        "args = [channels]",
        "args = [channels, true]",
        "args = [channels, true, false]",
        "args = [channels, false, true, 2, 5]",
    ]
    # Per position, its weight and its part of the sum; per sample, two layers.
    for height, width in ((32, 32), (16, 24)):
        wide = archdsl.analyze(archdsl.loads(text, input=f"3x{height}x{width}"))
        once = 3 * (8 * 4 + 4 * 8) + 8 * 5 + 5 * 8
        assert wide.macs == (3 * 8 + 4 * (8 + 8)) * height * width + once


class Blur(nn.Module):
    """Blur pooling (Zhang 2019, section 3.2) by a kernel that is not saved."""

    def __init__(self, channels: int, middle: float = 0.5) -> None:
        super().__init__()
        self.middle = middle
        row = torch.tensor([0.25, middle, 0.25])
        kernel = (row[:, None] * row).repeat(channels, 1, 1, 1)
        self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, [1] * 4), self.kernel, stride=2, groups=x.shape[1])


def test_a_kernel_that_is_no_weight_makes_no_convolution() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), Blur(4, 0.6), nn.ReLU())
    text = text_of(module)
    assert "blur -> relu" in text and "shape = [channels, (in_height + 1) // 2," in text


@pytest.mark.parametrize("size", [2, 3, 4, 6])
@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate"])
def test_a_binomial_blur_is_averages_of_two(size: int, mode: str) -> None:
    class Smaller(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            row = torch.ones(1)
            for _ in range(size - 1):
                row = F.conv1d(row[None, None], torch.ones(1, 1, 2), padding=1)[0, 0]
            kernel = (row[:, None] * row / 4 ** (size - 1))[None, None]
            self.register_buffer("kernel", kernel, persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            kernel = self.kernel.expand(x.shape[1], 1, size, size)
            around = F.pad(x, [size // 2] * 4, mode=mode)
            return F.conv2d(around, kernel, stride=2, groups=x.shape[1])

    text = text_of(nn.Sequential(nn.Conv2d(3, 4, 1), Smaller()))
    assert "op " not in text and "avgpool 2x2 /2" in text
    assert ("pad" in text) and text.count("pool 2x2 /1") == (size > 2)


def test_the_command_says_how_much_is_opaque(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    call = ["import", "tests.test_import:Opaque", "--input", "3x32x32"]
    assert main([*call, "-o", str(tmp_path / "net.arch")]) == 0
    assert "9 layers in " in (shown := capsys.readouterr().out)
    assert ", 6 of them foreign" in shown


def test_a_module_whose_arguments_are_not_found_is_refused() -> None:
    class Hidden(Standard):
        def __init__(self, inputs: int, outputs: int, style: str) -> None:
            super().__init__(inputs, outputs, 3)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = Hidden(3, 4, "x")

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.conv(x)
            return found

    assert "`view` in `conv`, at " in refused(Net())


# ---- what cannot be imported ----------------------------------------------------


def refused(module: nn.Module) -> str:
    with pytest.raises(NotImported) as caught:
        archdsl.from_module(module, IMAGE)
    return str(caught.value)


class Shift(nn.Module):
    """A trained summand, as a module of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias


class Shifted(nn.Sequential):
    """Convolutions in a container, whose own parameter can be a module."""

    def __init__(self, bare: bool) -> None:
        super().__init__(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1))
        if bare:
            self.bias = nn.Parameter(torch.zeros(4, 1, 1))
        else:
            self.bias = Shift()

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        x = self[0](x) + self[1](y)
        return self.bias(x) if isinstance(self.bias, Shift) else x + self.bias


class ReadsTwice(nn.Module):
    """A network with a module of two inputs."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        found: Tensor = self.body(x, F.relu(x))
        return found


class Listed(nn.Module):
    """Parameters in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.shifts = nn.ParameterList([nn.Parameter(torch.zeros(4, 1, 1))])
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        found: Tensor = self.conv(x + self.shifts[0]) + y
        return found


def test_a_parameter_in_a_container_is_named_with_a_way_out() -> None:
    said = refused(ReadsTwice(Shifted(bare=True)))
    assert said.startswith("`body.bias` is a parameter of `body`, ")
    assert "give it a module of its own" in said
    assert "body.bias: shift" in text_of(ReadsTwice(Shifted(bare=False)))
    said = refused(ReadsTwice(Listed()))
    assert said.startswith("`body.shifts.0` is a parameter of `body.shifts`, ")


def test_a_module_that_branches_on_values_says_where() -> None:
    class Branches(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.sum() > 0:
                return x
            return -x

    line = Branches.forward.__code__.co_firstlineno + 1
    assert f"depends on the values of tensors, at {__file__}:{line}" in (
        refused(Branches())
    )


def test_what_is_no_kind_is_named_with_its_place() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())

        def forward(self, x: Tensor) -> Tensor:
            return F.softshrink(self.part(x))

    message = refused(Odd())
    assert "`softshrink`" in message and "not a layer kind" in message
    assert f"{__file__}:" in message


def test_numbers_without_an_axis_are_no_kind() -> None:
    class Centred(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x - x.mean().view(1, 1, 1, 1)

    assert "is not a layer kind" in refused(Centred())


def test_a_module_of_several_inputs_is_no_foreign_layer() -> None:
    class Experts(nn.Module):
        """A kernel per sample, as in conditional convolutions."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 3 * 5))

        def forward(self, x: Tensor, shares: Tensor) -> Tensor:
            kernels = (shares @ self.weight).view(-1, 3, 1, 1)
            whole = x.reshape(1, -1, *x.shape[2:])
            found = F.conv2d(whole, kernels, groups=x.shape[0])
            return found.view(x.shape[0], -1, *x.shape[2:])

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.share = nn.Linear(3, 4)
            self.conv = Experts()

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.conv(x, self.share(x.mean((2, 3))).sigmoid())
            return found

    assert "in `conv`, which reads 2 values, at " in refused(Net())


def test_what_only_odd_sizes_show_is_noticed() -> None:
    class Even(nn.Module):
        """Pads at the start to an even size; not at all if the size is even."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 2, 2)

        def forward(self, x: Tensor) -> Tensor:
            height, width = x.shape[2:]
            return self.conv(F.pad(x, [width % 2, 0, height % 2, 0]))

    assert "an output in evaluation differs by " in refused(Even())


def test_weights_that_nothing_reads_are_missed() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)
            self.idle = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x)

    assert "`idle.weight` is missing: nothing reads it" in refused(Idle())


def test_a_difference_is_found_even_where_weights_are_zero() -> None:
    """A final factor of zero hides what comes before; the comparison still notices."""

    class Zero(nn.Module):
        def __init__(self, slope: float) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)
            self.act = nn.LeakyReLU(slope)
            self.norm = nn.BatchNorm2d(4)
            nn.init.zeros_(self.norm.weight)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.act(self.conv(x)))

    assert not prove(Zero(0.1), Zero(0.1), [IMAGE], [0]).difference
    proof = prove(Zero(0.1), Zero(0.2), [IMAGE], [0])
    assert proof.place == "act" and "`act` is the first module" in proof.difference


def test_a_module_is_not_changed() -> None:
    module = Small().eval()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    archdsl.from_module(module, IMAGE)
    assert not module.training
    for key, value in module.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


# ---- random modules ---------------------------------------------------------------

SEEDS, BATCH = 60, 15


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_random_modules_come_back(first: int) -> None:
    """An import computes the same; imported again, it has the same structure."""
    for seed in range(first, first + BATCH):
        found = archdsl.from_module(modules.module_of(seed), modules.IMAGE)
        network = archdsl.loads(found.text, symbolic=False)
        assert archdsl.format(found.text) == found.text
        if seed % 5 == 0:
            again = archdsl.from_module(archdsl.build(network), modules.IMAGE)
            ours = modules.structure(archdsl.loads(again.text, symbolic=False))
            assert ours == modules.structure(network), f"module {seed}"


def test_layers_that_drop_nothing_or_with_many_digits_come_back() -> None:
    drops = "for p in [0, 0.1 / 17, 0.5] { residual { conv 1x1 -> stochasticdepth p } }"
    text = f"arch 1\nnetwork Net {{\n input 3x8x8\n {drops}\n}}\n"
    network = archdsl.loads(text, symbolic=False)
    found = archdsl.from_module(archdsl.build(network), (3, 8, 8))
    assert "stochasticdepth 0.005882352941 }\n" in found.text
    ours = archdsl.loads(found.text, symbolic=False)
    assert modules.structure(ours) == modules.structure(network)


SMALL_PRESETS = {"squeezenet1_1": "3x64x64", "m3": "1x4000", "ds_cnn_s": "1x49x10"}


@pytest.mark.parametrize("name", SMALL_PRESETS)
def test_presets_come_back_from_their_modules(name: str) -> None:
    network = archdsl.load(name, input=SMALL_PRESETS[name], symbolic=False)
    inputs = [tuple(map(int, port.shape)) for port in network.inputs]
    found = archdsl.from_module(archdsl.build(network), inputs)
    ours = archdsl.loads(found.text, symbolic=False)
    assert modules.structure(ours) == modules.structure(network)


# ---- known networks -------------------------------------------------------------

# One small network per family, at sizes for which last maps have several units.
QUICK = {"squeezenet1_1": 64, "shufflenet_v2_x0_5": 64}
FAMILIES = {
    **dict.fromkeys(("alexnet", "vgg11_bn", "resnet50", "densenet121"), 96),
    **dict.fromkeys(("mobilenet_v2", "mobilenet_v3_small", "mnasnet0_5"), 64),
    **dict.fromkeys(("efficientnet_b0", "regnet_y_400mf", "convnext_tiny"), 64),
}


def check_known(name: str, size: int) -> None:
    module = filled(name)
    found = archdsl.from_module(module, (3, size, size))
    assert len(found.compared) == 6
    assert archdsl.format(found.text) == found.text
    ours = archdsl.analyze(archdsl.loads(found.text))
    assert ours.params == sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", QUICK)
def test_torchvision_comes_back(name: str) -> None:
    check_known(name, QUICK[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_of_torchvision_comes_back(name: str) -> None:
    check_known(name, FAMILIES[name])


# ---- the command ----------------------------------------------------------------

NETS = """import sys
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=8, act="ReLU"):
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, width, 3), getattr(nn, act)()

    def forward(self, x):
        return self.act(self.conv(x))

class Idle(Net):
    def __init__(self):
        super().__init__()
        self.rest = nn.Linear(3, 3)

def number():
    return 3

def leaves():
    sys.exit(5)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "imported_nets", raising=False)
    (tmp_path / "imported_nets.py").write_text(NETS, encoding="utf-8")
    return tmp_path


def run(*arguments: str, size: str = "3x16x16") -> int:
    return main(["import", *arguments, "--input", size])


def test_the_command_says_that_it_runs_code_and_writes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = ("imported_nets:Net", "-a", "width=4", "-a", "act=SiLU", "-o", "net.arch")
    assert run(*made) == 0
    said = capsys.readouterr()
    assert said.err == "running the code of imported_nets:Net\n"
    assert said.out.startswith("wrote net.arch: 2 layers in ")
    network = archdsl.load("net.arch")
    assert [step.op.word for step in network.steps()] == ["conv", "silu"]
    assert run("imported_nets:Net") == 0
    assert capsys.readouterr().out.startswith("arch 1\n\n# Net, imported from")


@pytest.mark.parametrize(
    ("factory", "status", "message"),
    [
        ("imported_nets", 2, "not of the form MODULE:FACTORY"),
        ("no_such_module:net", 1, "ModuleNotFoundError"),
        ("imported_nets:nothing", 1, "AttributeError"),
        ("imported_nets:number", 1, "does not return a torch.nn.Module: int"),
        ("imported_nets:leaves", 1, "cannot be made: SystemExit: 5"),
    ],
)
def test_what_makes_no_network_ends_in_words(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    factory: str,
    status: int,
    message: str,
) -> None:
    assert run(factory) == status
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_partial_import_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("imported_nets:Idle") == 1
    assert "--partial writes the spec all the same" in capsys.readouterr().err
    assert run("imported_nets:Idle", "--partial", "-o", "net.arch") == 1
    found = Path("net.arch").read_text(encoding="utf-8")
    assert "# Not equal to its module: `rest.weight` is missing" in found
