"""Padding by values of the map, compared with modules written by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archdsl
from tests.comparing import faults, with_statistics


def net(*statements: str, input: str = "3x12x10") -> str:
    body = "".join(f"    {line}\n" for line in statements)
    return f"arch 1\nnetwork Net {{\n    input {input}\n{body}}}\n"


# ---- CycleGAN's unit --------------------------------------------------------------

UNIT = """arch 1
block unit {
    residual {
        conv_block: seq {
            pad 1x1 reflect
            conv 3x3 pad=0 -> instancenorm -> relu
            pad 1x1 reflect
            conv 3x3 pad=0 -> instancenorm
        }
    }
}
network Net {
    input 4x9x9
    model: seq {
        pad 3x3 reflect
        conv 7x7 8 pad=0 -> relu
        unit
        pad 3x3 reflect
        conv 7x7 3 pad=0 -> tanh
    }
}
"""


class Unit(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3),
            nn.InstanceNorm2d(width),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3),
            nn.InstanceNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class Generator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.ReflectionPad2d(3),
            nn.Conv2d(4, 8, 7),
            nn.ReLU(),
            Unit(8),
            nn.ReflectionPad2d(3),
            nn.Conv2d(8, 3, 7),
            nn.Tanh(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


def test_a_generator_is_that_of_the_module_by_hand() -> None:
    ours, theirs = with_statistics(archdsl.build(archdsl.loads(UNIT))), Generator()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 4, 9, 9)
    torch.testing.assert_close(ours(x), theirs(x))
    assert not faults(UNIT)


def test_it_is_imported() -> None:
    found = archdsl.from_module(Generator(), "4x9x9")
    assert "pad 3x3 reflect" in found.text
    assert "op " not in found.text


@pytest.mark.parametrize(
    ("module", "size", "written"),
    [
        (nn.ReflectionPad1d(2), "3x9", "pad 2 reflect"),
        (nn.ReflectionPad2d(1), "3x9x9", "pad 1x1 reflect"),
        (nn.ReflectionPad2d((2, 2, 1, 1)), "3x9x9", "pad 1x2 reflect"),
        (nn.ReplicationPad2d(2), "3x9x9", "pad 2x2 replicate"),
        (nn.ReplicationPad3d((3, 3, 2, 2, 1, 1)), "3x5x6x7", "pad 1x2x3 replicate"),
        (nn.CircularPad2d((2, 2, 1, 1)), "3x9x9", "pad 1x2 circular"),
        (nn.ReflectionPad1d((2, 1)), "3x9", "pad 1 reflect left=1"),
        (nn.CircularPad2d((1, 2, 0, 1)), "3x9x9", "pad 0x1 circular right=1 bottom=1"),
        (nn.Conv1d(3, 4, 5, 2, 2, padding_mode="replicate"), "3x9", "pad_mode=repl"),
        (
            nn.Conv2d(3, 3, 5, dilation=2, padding="same", padding_mode="circular"),
            "3x9x9",
            "conv 5x5 dilation=2 pad_mode=circular",
        ),
        (
            nn.Conv3d(3, 3, 3, padding=(0, 1, 2), padding_mode="reflect"),
            "3x5x6x7",
            "conv 3x3x3 pad=0x1x2 pad_mode=reflect",
        ),
    ],
)
def test_modules_are_imported(module: nn.Module, size: str, written: str) -> None:
    text = archdsl.from_module(nn.Sequential(module, nn.ReLU()), size).text
    assert written in text


# ---- values and receptive fields ----------------------------------------------------


MODES = ("reflect", "replicate", "circular")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("size", "pads"), [("2x7", "3"), ("2x7x5", "2x4"), ("2x4x5x6", "1x3x2")]
)
def test_what_is_computed(size: str, pads: str, mode: str) -> None:
    module = archdsl.build(archdsl.loads(net(f"pad {pads} {mode}", input=size)))
    x = torch.randn(2, *map(int, size.split("x")))
    sides = [int(n) for n in reversed(pads.split("x")) for _ in range(2)]
    torch.testing.assert_close(module(x), F.pad(x, sides, mode))


@pytest.mark.parametrize(
    "statements",
    [
        ("pad 2x3 reflect",),
        ("pad 3x3 replicate -> conv 3x3 /2",),
        ("conv 3x3 /2 -> pad 2x2 reflect -> conv 5x5 pad=0",),
        ("maxpool 2x2 -> pad 1x3 replicate -> upsample 2x2 -> conv 3x3",),
        ("upsample 2x2 mode=bilinear -> pad 2x2 reflect -> conv 3x3 dilation=2 pad=0",),
        ("add { pad 1x1 reflect -> conv 3x3 pad=0 | conv 5x5 }",),
        ("a: pad 1x1 reflect -> maxpool 3x3 /1 -> same a -> conv 3x3 pad=0",),
        ("s: seq { pad 1x1 reflect; conv 3x3 pad=0; pad 0x0 replicate }",),
        ("pad 0x1 circular top=2 right=1 -> conv 3x3 /2 pad=0",),
        (
            "maxpool 2x2 /1 -> conv 5x3 /2 pad_mode=circular",
            "conv 3x3 pad_mode=reflect",
        ),
        (
            "conv 3x3 pad=4 dilation=2 pad_mode=replicate",
            "conv 2x2 /2 pad_mode=circular",
        ),
        ("s: seq { conv 5x5 pad=same pad_mode=circular; relu; conv 1x1 }",),
        ("upsample 2x2 -> conv 3x3 /3 pad=2 pad_mode=reflect -> pad 1x1 circular",),
    ],
)
def test_figures_are_those_of_torch(statements: tuple[str, ...]) -> None:
    assert not faults(net(*statements))


def test_a_map_that_goes_round_is_seen_as_a_whole_from_its_ends() -> None:
    figures: Any = archdsl.analyze(
        archdsl.loads(net("conv 3x3 pad_mode=circular", input="1x8x8"))
    )
    # The first unit reads positions 7, 0 and 1, whose hull is the whole axis.
    assert figures.receptive_field.visible == (8, 8)


def test_what_units_at_the_border_see() -> None:
    """If a map is reflected by three positions, its unit 0 is position 3."""
    figures: Any = archdsl.analyze(
        archdsl.loads(net("pad 3x3 reflect -> conv 7x7 pad=0"))
    )
    # The first unit reads positions 3 to 0 and 1 to 3: its window is not cut off.
    assert figures.receptive_field.size == (7, 7)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("pad 12x1 reflect", "has fewer than 12x1 positions"),
        ("pad 1x200000 replicate", "exceed"),
        ("pad 13x1 circular", "has fewer than 13x1 positions"),
        ("pad 1x1 zeros", "reflect"),
        ("pad 1x1 reflect front=1", "only has the sides"),
        ("conv 3x3 pad=12 pad_mode=reflect", "has fewer than 12x12 positions"),
        ("conv 3x3 /2 pad=same pad_mode=circular", "only pad with zeros"),
        ("pad 65536x1 replicate -> conv 65536x1 pad_mode=replicate", "exceed"),
        ("pad 1 reflect", "sizes"),
    ],
)
def test_what_is_refused(statement: str, message: str) -> None:
    with pytest.raises(archdsl.SpecError, match=message):
        archdsl.loads(net(statement))
