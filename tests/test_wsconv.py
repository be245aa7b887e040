"""Convolutions with standardised weights, compared with modules written by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archdsl
from archdsl.layer import kind
from tests.comparing import faults


class Standardised(nn.Conv2d):
    """As in the code of Kolesnikov et al. 2020, "Big Transfer", `StdConv2d`."""

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight
        v, m = torch.var_mean(w, dim=[1, 2, 3], keepdim=True, unbiased=False)
        w = (w - m) / torch.sqrt(v + 1e-10)
        places = self.stride, self.padding, self.dilation, self.groups
        return F.conv2d(x, w, self.bias, *places)


class Scaled(nn.Conv2d):
    """As in timm's `ScaledStdConv2d` and `ScaledStdConv2dSame`."""

    def __init__(self, *args: Any, gamma: float, same: bool = False, **more: Any):
        super().__init__(*args, **more)
        self.gain = nn.Parameter(torch.full((self.out_channels, 1, 1, 1), 1.0))
        self.scale = gamma * self.weight[0].numel() ** -0.5
        self.same = same

    def forward(self, x: Tensor) -> Tensor:
        if self.same:
            sides: list[int] = []
            for n, k, s in zip(x.shape[2:], self.kernel_size, self.stride, strict=True):
                total = max((-(-n // s) - 1) * s + k - n, 0)
                sides = [total // 2, total - total // 2, *sides]
            x = F.pad(x, sides)
        weight = F.batch_norm(
            self.weight.reshape(1, self.out_channels, -1),
            None,
            None,
            weight=(self.gain * self.scale).view(-1),
            training=True,
            momentum=0.0,
            eps=1e-5,
        ).reshape_as(self.weight)
        places = self.stride, self.padding, self.dilation, self.groups
        return F.conv2d(x, weight, self.bias, *places)


def net(*statements: str, input: str = "6x9x8") -> str:
    body = "".join(f"    {line}\n" for line in statements)
    return f"arch 1\nnetwork Net {{\n    input {input}\n{body}}}\n"


@pytest.mark.parametrize("training", [False, True])
def test_it_computes_what_big_transfers_does(training: bool) -> None:
    text = net("a: wsconv 3x3 4 /2 groups=2 eps=1e-10 bias=true")
    ours = archdsl.build(archdsl.loads(text)).train(training).double()
    theirs = Standardised(6, 4, 3, stride=2, padding=1, groups=2).double()
    ours.load_state_dict({f"a.{k}": v for k, v in theirs.state_dict().items()})
    x = torch.randn(2, 6, 9, 8, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x))
    for module in (ours, theirs):
        module(x).square().sum().backward()
    torch.testing.assert_close(ours.a.weight.grad, theirs.weight.grad)


@pytest.mark.parametrize(
    ("module", "written"),
    [
        (
            Scaled(6, 4, 3, gamma=1.7139588594436646),
            "3x3 4 pad=0 gamma=1.71395885944366",
        ),
        (Scaled(6, 6, 3, stride=2, same=True, gamma=1.5), "3x3 /2 pad=same gamma=1.5"),
        (Scaled(6, 6, 1, bias=False, gamma=2.0), "1x1 bias=false gamma=2.0"),
    ],
)
def test_it_is_imported(module: nn.Module, written: str) -> None:
    found = archdsl.from_module(nn.Sequential(module, nn.ReLU()), "6x9x8")
    assert f"wsconv {written} eps=1e-5" in found.text
    assert len(found.compared) > 4


def test_kernels_of_any_rank_stand_in_one_network() -> None:
    """Their classes have the same docstring; so do those for `pad=same`."""
    text = net(
        "conv 3x3 /2 pad=same -> wsconv 3x3 gamma=1.5 -> wsconv 2x2 8",
        "globalavgpool -> reshape sequence",
        "conv 3 4 /2 pad=same -> wsconv 3 gamma=1.5 -> wsconv 3",
    )
    assert not faults(text)


def test_the_kernel_of_inference_is_the_one_that_it_computes() -> None:
    found = kind("wsconv")
    assert found is not None
    layer = found(kernel=(3, 3), width=4, gamma=1.3, bias=False)
    module = archdsl.build(archdsl.loads(net("a: wsconv 3x3 4 gamma=1.3 bias=false")))
    nn.init.normal_(module.a.gain)
    own = {name: value.detach() for name, value in module.a.named_parameters()}
    x = torch.randn(1, 6, 5, 5)
    weight, bias = layer.kernel_of(own)
    torch.testing.assert_close(module(x), F.conv2d(x, weight, bias, padding=1))
