"""Roots, squares, means and trained biases, and the norms that are made of them."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archdsl
from tests.comparing import faults, with_statistics


class RootMeanSquare(nn.Module):
    """As in timm's `RmsNorm2d`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        v = torch.mean(x.pow(2), dim=1, keepdim=True)
        return x * torch.rsqrt(v + 1e-6) * self.weight.reshape(1, -1, 1, 1)


class Response(nn.Module):
    """As in timm's `GlobalResponseNorm`, with channels first or last."""

    def __init__(self, width: int, last: bool) -> None:
        super().__init__()
        self.axes, self.channels = ((1, 2), -1) if last else ((2, 3), 1)
        self.over = (1, 1, 1, -1) if last else (1, -1, 1, 1)
        self.weight = nn.Parameter(torch.zeros(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        norm = x.norm(p=2, dim=self.axes, keepdim=True)
        n = norm / (norm.mean(dim=self.channels, keepdim=True) + 1e-6)
        bias, weight = self.bias.view(self.over), self.weight.view(self.over)
        return x + torch.addcmul(bias, weight, x * n)


class Star(nn.Module):
    """As in timm's `StarReLU`."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.scale = nn.Parameter(0.8944 * torch.ones(1))
        self.bias = nn.Parameter(-0.4472 * torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.relu(x) ** 2 + self.bias


class Net(nn.Module):
    def __init__(self, own: nn.Module, last: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.own = own
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.last:
            return self.own(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.own(x)


CASES = {
    "rms_norm": (Net(RootMeanSquare(6)), "own: rms_norm"),
    "response_norm": (Net(Response(6, last=False)), "own: response_norm"),
    "star_relu": (Net(Star()), "own: star_relu"),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("training", [False, True])
def test_the_library_has_the_keys_and_values_of_modules(
    name: str, training: bool
) -> None:
    theirs, text = CASES[name]
    ours = archdsl.build(
        archdsl.loads(
            f"arch 1\nimport {name} from norms\nnetwork N {{\n    input 3x7x6\n"
            f"    conv: conv 3x3 6 pad=0 -> {text}\n}}\n"
        )
    ).train(training)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(with_statistics(ours).state_dict())
    x = torch.randn(2, 3, 7, 6)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (Net(RootMeanSquare(6)), "square channelmean shift rsqrt"),
        (
            Net(Response(6, last=False)),
            "l2pool channelmean shift reciprocal layershift",
        ),
        (Net(Response(6, last=True), True), "permute l2pool channelmean layershift"),
        (Net(Star()), "relu square layerscale layershift"),
    ],
)
def test_modules_are_imported(module: nn.Module, words: str) -> None:
    text = archdsl.from_module(module, "3x7x6").text
    assert "op " not in text
    assert all(word in text for word in words.split())


@pytest.mark.parametrize(
    "statements",
    [
        "abs -> sqrt -> conv 3x3",
        "l: conv 1x1 -> l2pool; mul { | @l } -> square -> channelmean",
        "permute last -> mul { | channelmean } -> mul { l2pool | } -> permute first",
        "square -> shift 0.1 -> rsqrt -> mul { | reciprocal -> abs }",
        "b: layershift 0.5 -> s: layerscale 2 form=single -> flatten -> c: layershift",
        "s: seq { abs; square; shift 1; sqrt; rsqrt; reciprocal; l2pool; channelmean }",
    ],
)
@pytest.mark.parametrize("size", ["4x6x5", "4x7", "4x3x4x5"])
def test_figures_are_those_of_torch(statements: str, size: str) -> None:
    body = "".join(f"    {line.strip()}\n" for line in statements.split(";; "))
    text = f"arch 1\nnetwork N {{\n    input {size}\n{body}}}\n"
    axes = size.count("x")
    text = text.replace("3x3", "x".join("3" * axes)).replace(
        "1x1", "x".join("1" * axes)
    )
    assert not faults(text)


def test_powers_are_squares_and_roots() -> None:
    class Powers(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(x) + 1
            return x**2 + x**0.5 + x.pow(-1) + torch.pow(x, -0.5)

    text = archdsl.from_module(Powers(), "3x7x6").text
    for word in ("square", "sqrt", "reciprocal", "rsqrt", "shift 1"):
        assert word in text


@pytest.mark.parametrize("mode", ["reflect", "replicate", "zeros"])
@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 1), (3, 2), (4, 2), (5, 3)])
def test_blur_pooling_is_a_convolution_by_binomials(
    size: int, stride: int, mode: str
) -> None:
    """As in timm's `BlurPool2d`, of Zhang's code."""
    row = torch.tensor([math.comb(size - 1, k) / 2 ** (size - 1) for k in range(size)])
    weight = (row[:, None] * row).expand(4, 1, size, size)
    text = f"""arch 1
import blur_pool from pooling
network N {{
    input 4x9x12
    blur_pool<{size}, {stride}, "{mode}">
}}
"""
    assert not faults(text)
    x = torch.randn(2, 4, 9, 12)
    sides = [(stride - 1 + size - 1) // 2] * 4
    padded = F.pad(x, sides, mode="constant" if mode == "zeros" else mode)
    expected = F.conv2d(padded, weight, stride=stride, groups=4)
    torch.testing.assert_close(archdsl.build(archdsl.loads(text))(x), expected)
