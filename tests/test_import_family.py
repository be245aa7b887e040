"""Several modules of one design are imported as one file, with a preset for each."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import archdsl
from archdsl.backends.importer import NotImported
from tests.oracle import filled
from tests.test_cli import Run, folder, run

__all__ = ["folder", "run"]


pytestmark = pytest.mark.usefixtures("quick_on_meta")


class Unit(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x)))


class Wide(Unit):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.bn(self.conv(x)))


class Net(nn.Module):
    def __init__(self, *units: type[Unit], width: int = 8, act: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3)
        self.body = nn.Sequential(*(unit(width) for unit in units))
        self.act = nn.GELU() if act else nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.body(self.stem(x)))


def check(modules: dict[str, nn.Module], size: int = 16) -> str:
    """Import a family, and compare each preset with its module, with equal weights."""
    found = archdsl.from_family(modules, (3, size, size))
    assert archdsl.format(found.text) == found.text
    for place, (name, module) in enumerate(modules.items()):
        network = archdsl.loads(found.text, preset=name)
        built = archdsl.build(network)
        assert list(built.state_dict()) == list(module.state_dict())
        built.load_state_dict(module.state_dict())
        image = torch.randn(2, 3, size, size)
        with torch.no_grad():
            theirs = module.eval()(image)
            assert torch.allclose(built.eval()(image), theirs, atol=1e-5)
        if not place:
            assert archdsl.loads(found.text).name == name
    return found.text


def test_resnets_share_blocks_and_one_network() -> None:
    names = ("resnet18", "resnet34", "resnet50")
    text = check({name: filled(name) for name in names}, 33)
    assert text.count("\nblock ") == 2 and text.count("\nnetwork ") == 1
    assert text.endswith(
        "default preset resnet18 = ResNet<basic_block, 2, 1, 1, 1>\n"
        "preset resnet34 = ResNet<basic_block, 3, 3, 5, 2>\n"
        "preset resnet50 = ResNet<bottleneck, 3, 3, 5, 2>\n"
    )


def test_widths_and_groups_become_parameters() -> None:
    names = ("resnet50", "resnext50_32x4d", "wide_resnet50_2")
    text = check({name: filled(name) for name in names}, 33)
    assert text.count("\nnetwork ResNet<mid, groups>") == 1
    assert "preset resnext50_32x4d = ResNet<128, 32>" in text


def test_networks_of_other_forms_stand_apart() -> None:
    text = check({"a": Net(Unit, Unit), "b": Net(Unit, Unit, act=True), "c": Net(Unit)})
    assert "default preset a = Net<2>" in text and "preset c = Net<1>" in text
    assert "preset b = Net_2\n" in text and "network Net_2 {" in text


def test_blocks_that_differ_become_a_parameter() -> None:
    text = check({"a": Net(Unit), "b": Net(Wide)})
    assert "network Net<unit1>" in text or "network Net<unit" in text
    assert text.count("\nnetwork ") == 1


def test_one_block_that_is_two_elsewhere_keeps_networks_apart() -> None:
    text = check({"a": Net(Unit, Unit), "b": Net(Unit, Wide), "c": Net(Wide, Unit)})
    assert text.count("\nnetwork ") >= 2


def test_equal_networks_have_no_parameters() -> None:
    text = check({"a": Net(Unit), "b": Net(Unit)})
    assert text.endswith("default preset a = Net\npreset b = Net\n")


def test_a_preset_that_cannot_be_written_is_named() -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.fft.fft(x).real

    with pytest.raises(NotImported, match=r"^b: "):
        archdsl.from_family({"a": Net(Unit), "b": Odd()}, "3x16x16")


@pytest.mark.parametrize("name", ["network", "conv", "a b", "", "1a"])
def test_names_that_no_preset_can_have(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a preset"):
        archdsl.from_family({name: Net(Unit)}, "3x16x16")


def test_the_command(folder: Path, run: Run) -> None:
    (folder / "nets_of_a_family.py").write_text(
        "from torch import nn\n\n\ndef small():\n    return nn.Sequential(\n"
        "        nn.Conv2d(3, 4, 3), nn.ReLU())\n\n\ndef large():\n"
        "    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())\n"
    )
    given = ("import", "nets_of_a_family", "--family", "small,large")
    code, out, err = run(*given, "--input", "3x8x8", "--name", "Pair")
    assert code == 0, err
    assert out.endswith("default preset small = Pair<4>\npreset large = Pair<8>\n")
    assert "running the code of nets_of_a_family:large" in err
    for wrong, message in (
        (
            ("import", "nets_of_a_family:small", "--family", "small"),
            "give the module alone",
        ),
        (("import", "nets_of_a_family", "--family", "small,small"), "different names"),
        (("import", "nets_of_a_family", "--family", "a-b"), "names of functions"),
        (("import", "nets_of_a_family", "--family", "gone"), "cannot be made"),
    ):
        code, _, err = run(*wrong, "--input", "3x8x8")
        assert code in (1, 2) and message in err, err
    code, _, err = run(*given)
    assert code == 2 and "--family needs --input" in err


class Inverted(nn.Module):
    """Adds its input where shapes allow it, or where an argument says so."""

    def __init__(self, channels: int, width: int, *, add: bool | None = None) -> None:
        super().__init__()
        self.add = channels == width if add is None else add
        self.conv = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 1, bias=False),
            nn.BatchNorm2d(2 * channels),
            nn.ReLU(),
            nn.Conv2d(2 * channels, width, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.add else self.conv(x)


def test_what_is_added_only_where_it_fits_is_an_optional_shortcut() -> None:
    module = nn.Sequential(*(Inverted(*pair) for pair in ((3, 3), (3, 8), (8, 8))))
    text = archdsl.from_module(module, "3x16x16").text
    assert text.count("block ") == 1 and "residual<shortcut = optional> {" in text


def test_a_unit_that_leaves_its_sum_out_without_need_has_a_block_of_its_own() -> None:
    module = nn.Sequential(Inverted(3, 3), Inverted(3, 3, add=False), Inverted(3, 8))
    text = archdsl.from_module(module, "3x16x16").text
    own = text[text.index("block inverted2 {") : text.index("network ")]
    assert text.count("block ") == 2 and "residual" not in own
    both = {"a": module, "b": nn.Sequential(Inverted(3, 3), Inverted(3, 8))}
    text = check(both)
    assert text.count("block ") == 2 and "b<inverted, inverted2>" not in text


def test_a_family_has_optional_shortcuts() -> None:
    both = {
        "a": nn.Sequential(Inverted(3, 3), Inverted(3, 8)),
        "b": nn.Sequential(Inverted(3, 8), Inverted(8, 8)),
    }
    assert "residual<shortcut = optional>" in check(both)
