"""The shipped specs: short, in canonical layout, and with correct claims."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import archdsl
from archdsl.ir import Network
from archdsl.ir.verify import problems
from archdsl.passes.expect import check_expectations
from archdsl.resources import shipped_presets, shipped_specs
from archdsl.syntax.loader import read_source
from tests import presets
from tests.oracle import CASES, meta, torchvision

SPECS = sorted(shipped_specs().values())
MAX_LINES = 90

# Beyond torchvision's classifiers: parameters counted by hand from the figures of the
# papers, and the shapes that they state.
DOUBLE = {c: 9 * c * c + c for c in (64, 128, 256, 512, 1024)}
UNET = (
    # Down: the first convolution of each level widens, the second keeps.
    sum(9 * a * b + b + DOUBLE[b] for a, b in [(1, 64), (64, 128), (128, 256)])
    + sum(9 * a * b + b + DOUBLE[b] for a, b in [(256, 512), (512, 1024)])
    # Up: a 2x2 convolution halves, then a 3x3 of the concatenation, then another.
    + sum(
        4 * 2 * c * c + c + 9 * 2 * c * c + c + DOUBLE[c] for c in (64, 128, 256, 512)
    )
    + 64 * 2
    + 2
)
BACKBONE = 11_689_512 - 513_000  # ResNet-18 without its classifier
FPN = (
    BACKBONE
    + sum(256 * c + 256 for c in (64, 128, 256, 512))
    + 4 * (9 * 256 * 256 + 256)
)
COUNTED = {
    "unet": (UNET, {"output": (2, 388, 388)}),
    "unet_padded": (UNET, {"output": (2, 560, 560)}),
    "resnet18_fpn": (
        FPN,
        {
            "output": (256, 56, 56),
            "p3": (256, 28, 28),
            "p4": (256, 14, 14),
            "p5": (256, 7, 7),
        },
    ),
    "deeplabv3_resnet50": (39_638_869, {"output": (21, 520, 520)}),
    "siamese": (38_951_745, {"output": (1,)}),
    "srgan_generator": (1_547_350, {"output": (3, 384, 384)}),
    "dcgan_generator": (3_576_704, {"output": (3, 64, 64)}),
    "two_inputs": (111_722, {"output": (10,)}),
}


@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.stem)
def test_specs_are_short_and_laid_out_canonically(path: Path) -> None:
    source = read_source(path)
    assert source.text.count("\n") <= MAX_LINES
    assert archdsl.format(source.text) == source.text


def test_every_classifier_and_segmenter_of_torchvision_is_a_preset() -> None:
    models = torchvision.models
    names = set(models.list_models(module=models))
    without = ("vit_", "swin_", "maxvit_")
    wanted = {name for name in names if not name.startswith(without)}
    assert len(wanted) == 68
    segmenters = set(models.list_models(module=models.segmentation))
    assert len(segmenters) == 6
    wanted |= segmenters
    assert wanted <= set(shipped_presets())
    assert wanted == {case.model for case in CASES.values()}


def inputs_of(network: Network, batch: int = 2) -> list[Tensor]:
    return [torch.empty(batch, *port.shape) for port in network.inputs]


def shapes_of(module: nn.Module, network: Network) -> dict[str, tuple[int, ...]]:
    result = module(*inputs_of(network))
    named = {"output": result} if isinstance(result, Tensor) else result
    return {name: tuple(value.shape[1:]) for name, value in named.items()}


@pytest.mark.parametrize("preset", sorted(shipped_presets()))
def test_presets_are_what_they_claim_and_build(preset: str) -> None:
    network = presets.network(preset)
    assert not problems(network)
    analysis = archdsl.analyze(network)
    assert not check_expectations(network, analysis)
    with torch.device("meta"):
        module = presets.built(preset)
    with meta():
        shapes = shapes_of(module.eval(), network)
    assert sum(p.numel() for p in module.parameters()) == analysis.params
    assert sum(b.numel() for b in module.buffers()) == analysis.buffers
    always = [port for port in network.outputs if not port.training]
    assert shapes == {p.name: tuple(int(n) for n in p.shape) for p in always}


@pytest.mark.parametrize("preset", COUNTED)
def test_networks_that_are_no_classifiers(preset: str) -> None:
    params, shapes = COUNTED[preset]
    network = presets.network(preset)
    assert archdsl.analyze(network).params == params
    assert {p.name: tuple(int(n) for n in p.shape) for p in network.outputs} == shapes


def test_a_siamese_pair_shares_its_weights() -> None:
    torch.manual_seed(0)
    network = archdsl.load("siamese", input="1x105x105")
    module = archdsl.build(network).eval()
    image = torch.randn(1, 1, 105, 105)
    with torch.no_grad():
        alike = module(image, image)
        score = torch.sigmoid(module.score.bias)  # type: ignore[union-attr, arg-type]
    # If the inputs are equal, only the bias is left.
    torch.testing.assert_close(alike[0], score)
