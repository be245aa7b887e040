"""Modules with several inputs or outputs, read back as blocks with several."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archdsl
from archdsl.backends.importer import from_family, from_file
from tests import manual_specs

pytestmark = pytest.mark.usefixtures("quick_on_meta")

IMAGE = (3, 16, 16)


def read(module: nn.Module) -> str:
    """Return the spec of a module, which the import has compared with it."""
    found = archdsl.from_module(module, [IMAGE])
    assert len(found.compared) >= 3
    return found.text


class Double(nn.Sequential):
    """A convolution with its norm."""

    def __init__(self, channels: int, width: int) -> None:
        conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        super().__init__(conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True))


class Down(nn.Module):
    """The map before the pool is an output, too."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv, self.pool = Double(channels, width), nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        skip = self.conv(x)
        return self.pool(skip), skip


class Up(nn.Module):
    """Joins an earlier map."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(channels, width, 2, 2)
        self.conv = Double(2 * width, width)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        out: Tensor = self.conv(torch.cat([skip, self.up(x)], 1))
        return out


class UNet(nn.Module):
    """Two stages down, and two up."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.down1, self.down2 = Down(3, width), Down(width, 2 * width)
        self.mid = Double(2 * width, 4 * width)
        self.up2, self.up1 = Up(4 * width, 2 * width), Up(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x, fine = self.down1(x)
        x, coarse = self.down2(x)
        out: Tensor = self.up1(self.up2(self.mid(x), coarse), fine)
        return out


BLOCKS = """\
block down<width> {
    conv: double<width>
    maxpool 2x2
    output @conv
}

# Up, of tests.test_import_ports.
block up(x, skip) {
    up: convtranspose 2x2 (channels // 2) /2
    concat { @skip | }
    conv: double<channels // 2>
}
"""
CALLS = """\
    down1: down<8>
    down2: down<16>
    mid: double<32>
    up2: up { | @down2.conv }
    up1: up { | @down1.conv }
"""


def test_a_unet_keeps_its_blocks() -> None:
    text = read(UNet())
    assert BLOCKS in text and CALLS in text


def test_a_file_says_the_same_but_for_the_names_of_inputs(tmp_path: Path) -> None:
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(
        UNet().eval(), (torch.randn(2, *IMAGE),), dynamic_shapes=({0: batch},)
    )
    torch.export.save(program, tmp_path / "unet.pt2")
    text = from_file(tmp_path / "unet.pt2").text
    assert CALLS in text
    assert "block up(input1, input2) {" in text and "concat { @input2 | }" in text


def test_a_family_shares_them() -> None:
    found = from_family({"small": UNet(8), "large": UNet(12)}, [IMAGE], name="U")
    assert "block up(x, skip) {" in found.text
    assert "down1: down<w" in found.text and "preset large = U<" in found.text


class Exchange(nn.Module):
    """A list of two resolutions in, and another out."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 3, 2, 1)

    def forward(self, both: list[Tensor]) -> list[Tensor]:
        high, low = both
        larger = F.interpolate(self.up(low), scale_factor=2.0)
        return [F.relu(high + larger), F.relu(low + self.down(high))]


class Lists(nn.Module):
    """Stages that pass lists on."""

    def __init__(self) -> None:
        super().__init__()
        self.high, self.low = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 8, 3, 2, 1)
        self.stage1, self.stage2 = Exchange(), Exchange()

    def forward(self, x: Tensor) -> Tensor:
        high, low = self.stage2(self.stage1([self.high(x), self.low(x)]))
        return torch.cat([high.mean((2, 3)), low.mean((2, 3))], 1)


def test_lists_are_several_inputs_and_outputs() -> None:
    text = read(Lists())
    assert "block exchange(input1, input2) {" in text
    assert "    stage2: exchange { @stage1.relu_1 | }\n" in text


class Gate(nn.Module):
    """An attention gate."""

    def __init__(self) -> None:
        super().__init__()
        self.wg, self.wx = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.psi = nn.Conv2d(4, 1, 1)

    def forward(self, g: Tensor, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.psi(F.relu(self.wg(g) + self.wx(x))))


class Twice(nn.Module):
    """A gate that is called twice, with the same weights."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
        self.gate = Gate()

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a(x), self.b(x)
        out: Tensor = self.gate(b, self.gate(a, b))
        return out


def test_a_second_call_repeats_the_block() -> None:
    assert "    gate: gate { @a | }\n    same gate { @b | }\n" in read(Twice())


class Once(nn.Module):
    """A module called twice, of whose outputs one call only uses one."""

    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.a(x), self.b(x)

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.pair, self.first = self.Pair(), first

    def forward(self, x: Tensor) -> Tensor:
        alone = self.pair(x)[0] if self.first else x
        a, b = self.pair(alone)
        out: Tensor = a * b if self.first else a * self.pair(b)[0]
        return out


@pytest.mark.parametrize("first", [False, True])
def test_calls_with_other_outputs_are_dissolved(first: bool) -> None:
    text = read(Once(first))
    assert "block" not in text
    assert 'same "pair.a"' in text


@pytest.mark.parametrize("case", [3, 4, 8, 9, 13, 14])
def test_specs_of_the_manual_come_back(case: int) -> None:
    network = archdsl.loads(manual_specs.specimen(case), symbolic=False)
    inputs = [tuple(map(int, port.shape)) for port in network.inputs]
    found = archdsl.from_module(archdsl.build(network), inputs)
    assert len(found.compared) >= 3
