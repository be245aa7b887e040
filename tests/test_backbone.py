"""Backbones: their features and keys are those of the whole network."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

import archdsl
from archdsl.cli import main, status
from tests import presets
from tests.comparing import with_statistics

# The modules whose outputs are tapped, by their names in torch.
TAPS = {
    "resnet50": ("layer2", "layer3", "layer4"),
    "resnet18": ("layer2.0", "layer3"),
    "squeezenet1_1": ("features.7", "features.12"),
    "densenet121": ("features.denseblock2", "features.transition2"),
    "googlenet": ("inception3b", "inception4e"),
    "mobilenet_v2": ("features.3", "features.6", "features.18"),
    "efficientnet_b0": ("features.3", "features.5"),
    "regnet_y_400mf": ("trunk_output.block2", "trunk_output.block3"),
}
SIZE = 64


def seen(module: nn.Module, taps: tuple[str, ...], x: Tensor) -> list[Tensor]:
    """Return the outputs of submodules, by torch's hooks."""
    found: dict[str, Tensor] = {}
    for path in taps:
        module.get_submodule(path).register_forward_hook(
            lambda _, __, out, path=path: found.update({path: out.clone()})
        )
    with torch.no_grad():
        module(x)
    return [found[path] for path in taps]


@pytest.mark.parametrize("name", TAPS)
def test_features_are_those_of_the_whole(name: str) -> None:
    taps = TAPS[name]
    network = archdsl.load(name, input=f"3x{SIZE}x{SIZE}")
    cut = archdsl.backbone(network, taps=taps)
    torch.manual_seed(0)
    whole = with_statistics(archdsl.build(network)).eval()
    part = archdsl.build(cut).eval()
    state = whole.state_dict()
    kept = part.state_dict().keys()
    # Unused parts are gone, and all others keep their keys, in the same order.
    assert kept < state.keys()
    assert [*kept] == [key for key in state if key in kept]
    part.load_state_dict({key: state[key] for key in kept}, strict=True)
    x = torch.randn(2, 3, SIZE, SIZE)
    wanted = seen(whole, taps, x)
    with torch.no_grad():
        found = part(x)
    assert list(found) == [path.replace(".", "_") for path in taps]
    for one, other in zip(found.values(), wanted, strict=True):
        assert torch.equal(one, other)


STRIDES = {
    # As in timm, with features_only and out_indices.
    "resnet50": {4: "layer1", 8: "layer2", 16: "layer3", 32: "layer4"},
    "densenet121": {4: "features_denseblock1", 8: "features_denseblock2"},
    "regnet_y_400mf": {8: "trunk_output_block2", 16: "trunk_output_block3"},
    "mobilenet_v2": {8: "features_6", 16: "features_13"},
    "googlenet": {8: "inception3b", 16: "inception4e", 32: "inception5b"},
}


@pytest.mark.parametrize("name", STRIDES)
def test_strides_are_the_last_maps_of_their_size(name: str) -> None:
    wanted = STRIDES[name]
    cut = archdsl.backbone(name, strides=[*wanted])
    assert [port.name for port in cut.outputs] == [*wanted.values()]
    assert [224 // port.shape[1] for port in cut.outputs] == [*wanted]


def test_a_network_without_its_head_ends_with_the_last_map() -> None:
    whole = archdsl.load("resnet50")
    cut = archdsl.backbone(whole, head=False)
    assert [port.name for port in cut.outputs] == ["layer4"]
    # fc has 2048 x 1000 weights and 1000 biases.
    lost = archdsl.analyze(whole).params - archdsl.analyze(cut).params
    assert lost == 2_049_000
    assert archdsl.backbone("vgg16", head=False).outputs[0].shape == (512, 7, 7)


@pytest.mark.parametrize("name", archdsl.list_models()[::8])
def test_a_network_without_its_head_has_the_classes_of_the_whole(name: str) -> None:
    try:
        cut = archdsl.backbone(presets.network(name), head=False)
    except ValueError as error:
        assert name == "siamese" and "outputs a map" in str(error)
        return
    found, whole = (
        re.findall(r"^class (\w+)", text, re.MULTILINE)
        for text in (archdsl.emit(cut), presets.emitted(name))
    )
    assert set(found) <= set(whole)


@pytest.mark.parametrize("name", archdsl.list_models()[::5])
def test_presets_can_be_cut_anywhere_or_say_why_not(name: str) -> None:
    """They can be cut in the middle of blocks as well; emitted text is validated."""
    network = archdsl.load(name)
    paths = [step.path for step in network.steps() if not step.training]
    taps = (paths[len(paths) // 3], paths[len(paths) * 2 // 3])
    try:
        cut = archdsl.backbone(network, taps=taps)
    except ValueError as error:
        assert re.search("depends on its par|used again|two levels below", str(error))
    else:
        archdsl.emit(cut)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"taps": ["layer5"]}, "no part `layer5`; did you mean `layer"),
        ({"taps": ["aux1"]}, "no part `aux1`"),
        (
            {"strides": [64]},
            "no map has a stride of 64; the strides are 2, 4, 8, 16, 32",
        ),
        ({"strides": [0]}, "1 or more"),
        ({}, "nothing to tap"),
    ],
)
def test_what_is_not_there(options: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        archdsl.backbone("resnet50", **options)  # type: ignore[arg-type]


def test_a_head_of_training_cannot_be_tapped() -> None:
    with pytest.raises(ValueError, match="only exists in training"):
        archdsl.backbone("googlenet", taps=["aux1"])


def test_a_shared_part_cannot_be_cut_in_its_middle() -> None:
    network = archdsl.loads(
        "arch 1\nnetwork net {\n    input 3x8x8\n"
        "    a: { inner: conv 3x3 3 -> relu }\n    same a\n    conv 1x1 4\n}\n"
    )
    assert len(archdsl.backbone(network, taps=["a"]).outputs) == 1
    with pytest.raises(ValueError, match="used again"):
        archdsl.backbone(network, taps=["a.inner"])


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    line = ["compile", "resnet50", "--taps", "layer2,layer3", "--strides", "32"]
    assert main(line) == 0
    text = capsys.readouterr().out
    cut = archdsl.backbone("resnet50", taps=("layer2", "layer3"), strides=(32,))
    assert text == archdsl.emit(cut)
    assert '{"layer2": ' in text and "self.fc" not in text
    assert main(["compile", "resnet50", "--without-head"]) == 0
    assert "self.layer4" in capsys.readouterr().out


@pytest.mark.parametrize(
    "option", [["--taps", "layer9"], ["--strides", "8,x"], ["--strides", "0"]]
)
def test_wrong_options(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", "resnet50", *option]) == status.USAGE
    assert "Traceback" not in capsys.readouterr().err
