"""Branches weighted by attention, compared with modules written by hand.

The modules have the structure of timm's `SelectiveKernel`, `SplitAttn` and
`GlobalContext`, so that their tensors have the same names in the same order.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archdsl
from tests.comparing import faults, with_statistics


class ConvNorm(nn.Module):
    def __init__(self, width: int, out: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            width, out, 3, stride, dilation, dilation=dilation, bias=False
        )
        self.bn = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Selection(nn.Module):
    def __init__(self, width: int, squeeze: int) -> None:
        super().__init__()
        self.fc_reduce = nn.Conv2d(width, squeeze, 1, bias=False)
        self.bn = nn.BatchNorm2d(squeeze)
        self.fc_select = nn.Conv2d(squeeze, 2 * width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x.sum(1).mean((2, 3), keepdim=True)
        x = self.fc_select(F.relu(self.bn(self.fc_reduce(x))))
        batch, channels, height, width = x.shape
        x = x.view(batch, 2, channels // 2, height, width)
        return torch.softmax(x, dim=1)


class SelectiveKernel(nn.Module):
    def __init__(
        self, channels: int, width: int, squeeze: int, stride: int, split: bool
    ) -> None:
        super().__init__()
        self.split = split
        read = channels // 2 if split else channels
        self.paths = nn.ModuleList(
            [ConvNorm(read, width, stride, dilation) for dilation in (1, 2)]
        )
        self.attn = Selection(width, squeeze)

    def forward(self, x: Tensor) -> Tensor:
        parts = x.chunk(2, 1) if self.split else (x, x)
        paths = [path(part) for path, part in zip(self.paths, parts, strict=True)]
        x = torch.stack(paths, dim=1)
        return torch.sum(x * self.attn(x), dim=1)


class SplitAttention(nn.Module):
    def __init__(
        self, channels: int, width: int, squeeze: int, stride: int, radix: int
    ) -> None:
        super().__init__()
        self.radix = radix
        self.conv = nn.Conv2d(
            channels, radix * width, 3, stride, 1, groups=radix, bias=False
        )
        self.bn0 = nn.BatchNorm2d(radix * width)
        self.fc1 = nn.Conv2d(width, squeeze, 1)
        self.bn1 = nn.BatchNorm2d(squeeze)
        self.fc2 = nn.Conv2d(squeeze, radix * width, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn0(self.conv(x)))
        batch, channels, height, width = x.shape
        x = x.reshape(batch, self.radix, channels // self.radix, height, width)
        gap = x.sum(dim=1).mean((2, 3), keepdim=True)
        gap = self.fc2(F.relu(self.bn1(self.fc1(gap))))
        weights = gap.view(batch, 1, self.radix, -1).transpose(1, 2).softmax(dim=1)
        return (x * weights.reshape(batch, self.radix, -1, 1, 1)).sum(dim=1)


class ChannelNorm(nn.LayerNorm):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


class ContextMlp(nn.Module):
    def __init__(self, width: int, squeeze: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(width, squeeze, 1)
        self.norm = ChannelNorm(squeeze, eps=1e-6)
        self.fc2 = nn.Conv2d(squeeze, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.fc2(F.relu(self.norm(self.fc1(x))))
        return result


class GlobalContext(nn.Module):
    """The sum of weighted positions is a matrix product, as in timm."""

    def __init__(
        self,
        width: int,
        squeeze: int,
        *,
        attend: bool = True,
        scale: bool = True,
        shift: bool = False,
    ) -> None:
        super().__init__()
        self.conv_attn = nn.Conv2d(width, 1, 1) if attend else None
        self.mlp_add = ContextMlp(width, squeeze) if shift else None
        self.mlp_scale = ContextMlp(width, squeeze) if scale else None

    def forward(self, x: Tensor) -> Tensor:
        if self.conv_attn is None:
            context = x.mean((2, 3), keepdim=True)
        else:
            weights = self.conv_attn(x).flatten(1).softmax(1)
            context = torch.einsum("ncp,np->nc", x.flatten(2), weights)[..., None, None]
        if self.mlp_scale is not None:
            x = x * self.mlp_scale(context).sigmoid()
        return x if self.mlp_add is None else x + self.mlp_add(context)


CASES: dict[str, tuple[str, nn.Module]] = {
    "selective kernel": (
        "selective_kernel<24, 8>",
        SelectiveKernel(16, 24, 8, 1, split=True),
    ),
    "selective kernel, whole": (
        "selective_kernel<24, 8, 2, split = false>",
        SelectiveKernel(16, 24, 8, 2, split=False),
    ),
    "split attention": (
        "split_attention<24, 32, 2>",
        SplitAttention(16, 24, 32, 2, radix=2),
    ),
    "split attention, radix 4": (
        "split_attention<24, 32, radix = 4>",
        SplitAttention(16, 24, 32, 1, radix=4),
    ),
    "global context": ("global_context<4>", GlobalContext(16, 4)),
    "global context, added": (
        "global_context<4, scale = false, shift = true>",
        GlobalContext(16, 4, scale=False, shift=True),
    ),
    "global context, both": (
        "global_context<4, shift = true>",
        GlobalContext(16, 4, shift=True),
    ),
    "global context, an average": (
        "global_context<4, attend = false>",
        GlobalContext(16, 4, attend=False),
    ),
}


def spec(block: str) -> str:
    return f"""arch 1
import {block.partition("<")[0]} from attention
network Net {{
    input 16x12x12
    unit: {block}
}}
"""


@pytest.mark.parametrize("case", CASES)
def test_blocks_are_those_of_modules_by_hand(case: str) -> None:
    block, theirs = CASES[case]
    ours = with_statistics(archdsl.build(archdsl.loads(spec(block))))
    state = {k.removeprefix("unit."): v for k, v in ours.state_dict().items()}
    assert [*state] == [*theirs.state_dict()]
    theirs.load_state_dict(state, strict=True)
    x = torch.randn(2, 16, 12, 12)
    for mode in (True, False):
        torch.testing.assert_close(ours.train(mode)(x), theirs.train(mode)(x))


@pytest.mark.parametrize("case", CASES)
def test_figures_are_those_of_torch(case: str) -> None:
    assert not faults(spec(CASES[case][0]))


def test_weights_of_groups_are_put_in_order_by_slices() -> None:
    # RadixSoftmax of two groups: (group, part, channel) becomes (part, group, channel).
    text = """arch 1
network Net {
    input 24x1x1
    concat { slice (n * 4) (n * 4 + 4) for n in [i % 2 * 3 + i // 2 for i in range(6)] }
    softmax of=3
}
"""
    x = torch.randn(2, 24, 1, 1)
    wanted = F.softmax(x.view(2, 2, 3, -1).transpose(1, 2), dim=1).reshape(2, 24, 1, 1)
    module = archdsl.build(archdsl.loads(text)).eval()
    torch.testing.assert_close(module(x), wanted)


@pytest.mark.parametrize("size", ["6", "6x5", "6x5x4", "6x3x4x2"])
def test_a_softmax_of_parts(size: str) -> None:
    text = f"arch 1\nnetwork Net {{\n    input {size}\n    softmax of=3\n}}\n"
    shape = [int(n) for n in size.split("x")]
    x = torch.randn(2, *shape)
    parts = torch.stack(x.split(2, 1))
    wanted = torch.cat(tuple(parts.exp() / parts.exp().sum(0)), 1)
    network = archdsl.loads(text)
    torch.testing.assert_close(archdsl.build(network)(x), wanted)
    labelled = text.replace("softmax", "gate: softmax")
    torch.testing.assert_close(archdsl.build(archdsl.loads(labelled))(x), wanted)
    assert not faults(text)
    assert not faults(labelled)


@pytest.mark.parametrize(("channel", "field"), [(0, "3x3"), (1, "5x5")])
def test_channels_see_those_in_their_places_alone(channel: int, field: str) -> None:
    text = f"""arch 1
network Net {{
    input 3x9x9
    concat {{ conv {{}} 1 for kernel in [3x3, 5x5, 3x3, 5x5] }}
    softmax of=2 -> slice {channel} {channel + 1}
    expect receptive_field {field}
}}
""".replace("{}", "kernel")
    assert not faults(text)


@pytest.mark.parametrize("size", ["8x40", "8x7x6", "8x4x5x3"])
def test_a_weighted_average_of_all_positions(size: str) -> None:
    axes = size.count("x")
    one = "1" if axes == 1 else "x".join("1" * axes)
    text = f"""arch 1
network Net {{
    input {size}
    mul {{ | conv {one} 1 -> spatialsoftmax }} -> sumpool
}}
"""
    assert not faults(text)
    network = archdsl.loads(text)
    module = archdsl.build(network)
    x = torch.randn(2, *network.inputs[0].shape)
    weights = module.conv1(x).flatten(1).softmax(1)
    wanted = torch.einsum("ncp,np->nc", x.flatten(2), weights)
    torch.testing.assert_close(module(x).flatten(1), wanted)
    again = archdsl.from_module(module, size).text
    assert "spatialsoftmax" in again and "sumpool" in again
