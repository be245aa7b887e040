"""The claims about the tutorial's pairs of networks, against figures by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import archdsl
from archdsl.resources import shipped_presets, shipped_specs

PAIRS = {
    "tutorial/kernels": ("kernel_5x5", "kernels_3x3"),
    "tutorial/bottleneck": ("direct_3x3", "reduced_3x3"),
    "tutorial/depth": ("plain20", "plain56", "residual20", "residual56"),
    "tutorial/merge": ("merge_add", "merge_concat"),
}


def build(preset: str) -> nn.Module:
    torch.manual_seed(0)
    return archdsl.build(archdsl.load(preset))


def weights(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_tutorial_is_these_pairs() -> None:
    found = {name for name in shipped_specs() if name.startswith("tutorial/")}
    assert found == set(PAIRS)
    for spec, presets in PAIRS.items():
        assert {p for p, home in shipped_presets().items() if home == spec} == {
            *presets
        }


@pytest.mark.parametrize("spec", PAIRS)
def test_every_preset_states_what_it_expects(spec: str) -> None:
    for preset in PAIRS[spec]:
        network = archdsl.load(f"{spec}:{preset}")
        measures = {claim.measure for claim in network.expectations}
        assert {"params", "depth"} <= measures


# ---- one 5x5 against two 3x3 --------------------------------------------------


def test_two_3x3_have_fewer_weights_than_one_5x5() -> None:
    assert weights(build("kernel_5x5")) == 5 * 5 * 64 * 64
    assert weights(build("kernels_3x3")) == 2 * 3 * 3 * 64 * 64


@pytest.mark.parametrize("preset", PAIRS["tutorial/kernels"])
def test_both_see_5x5(preset: str) -> None:
    module = build(preset).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.abs_()
    image = torch.rand(1, 64, 56, 56, dtype=torch.float64, requires_grad=True)
    module(image)[0, 0, 20, 20].backward()
    assert image.grad is not None
    seen = image.grad.abs().sum((0, 1)).nonzero()
    assert seen.amin(0).tolist() == [18, 18]
    assert seen.amax(0).tolist() == [22, 22]


# ---- direct against reduced ---------------------------------------------------


def test_the_reduction_saves_weights_and_work() -> None:
    direct, reduced = (
        archdsl.analyze(archdsl.load(p)) for p in PAIRS["tutorial/bottleneck"]
    )
    assert direct.params == 128 * 128 * 9 == 147_456
    assert reduced.params == 128 * 32 + 32 * 128 * 9 == 40_960
    # A convolution's weights are used once at each of the 28x28 positions.
    assert direct.macs == 147_456 * 28 * 28
    assert reduced.macs == 40_960 * 28 * 28
    assert round(reduced.params / direct.params, 2) == 0.28
    assert weights(build("direct_3x3")) == 147_456
    assert weights(build("reduced_3x3")) == 40_960


# ---- plain against residual ---------------------------------------------------


def by_hand(n: int) -> int:
    """Return the parameters of a plain stack of 6 n + 2 layers."""
    convs = 9 * (3 * 16 + 2 * n * 16 * 16)
    convs += 9 * (16 * 32 + (2 * n - 1) * 32 * 32)
    convs += 9 * (32 * 64 + (2 * n - 1) * 64 * 64)
    norms = 2 * (16 * (2 * n + 1) + 32 * 2 * n + 64 * 2 * n)
    return convs + norms + 64 * 10 + 10


# Millions in He et al. 2015, table 6.
@pytest.mark.parametrize(("n", "published"), [(3, 0.27), (9, 0.85)])
def test_parameters_are_the_published_ones(n: int, published: float) -> None:
    plain = archdsl.analyze(archdsl.load(f"plain{6 * n + 2}"))
    residual = archdsl.analyze(archdsl.load(f"residual{6 * n + 2}"))
    assert plain.params == by_hand(n)
    assert round(plain.params / 1e6, 2) == published
    projections = 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64
    assert residual.params - plain.params == projections == 2_752
    assert plain.depth == residual.depth == 6 * n + 2


@pytest.mark.parametrize(("preset", "passed"), [("plain20", 0.0), ("residual20", 1.0)])
def test_the_gradient_passes_dead_units_only_by_the_shortcut(
    preset: str, passed: float
) -> None:
    module = build(preset).double()
    for name, parameter in module.named_parameters():
        if name.endswith("bn2.weight"):  # the last one of a unit
            nn.init.zeros_(parameter)
    assert isinstance(module.stage1, nn.Module)
    image = torch.rand(2, 16, 32, 32, dtype=torch.float64) + 0.1
    image.requires_grad_()
    module.stage1(image).sum().backward()
    assert image.grad is not None
    assert torch.equal(image.grad, torch.full_like(image, passed))


def growth(preset: str) -> float:
    """Return how much the gradient grows from the last convolution to the first."""
    module = build(preset).double().train()
    images, labels = torch.randn(8, 3, 32, 32).double(), torch.arange(8)
    F.cross_entropy(module(images), labels).backward()
    convs = [
        conv.weight.grad
        for name, conv in module.named_modules()
        if isinstance(conv, nn.Conv2d) and "downsample" not in name
    ]
    first, last = convs[0], convs[-1]
    assert isinstance(first, Tensor) and isinstance(last, Tensor)
    return float(first.norm() / last.norm())


def test_the_gradient_explodes_in_the_deep_plain_stack() -> None:
    # Batch norm makes it explode rather than vanish (Yang et al. 2019, "A mean field
    # theory of batch normalization").
    found = {preset: growth(preset) for preset in PAIRS["tutorial/depth"]}
    assert 100 < found["plain56"] < 10_000
    assert 5 < found["residual56"] < 50
    assert found["plain20"] < 20
    assert found["residual20"] < found["residual56"] < found["plain56"]


# ---- summation against concatenation --------------------------------------------


def test_a_sum_keeps_the_channels_and_a_concatenation_adds_to_them() -> None:
    add, concat = (archdsl.load(p) for p in PAIRS["tutorial/merge"])
    reads = {
        network.name: [
            (step.input_shapes[0][0], step.shape[0])
            for step in network.steps()
            if step.op.word == "conv"
        ]
        for network in (add, concat)
    }
    assert reads["merge_add"] == [(64, 64)] * 4
    assert reads["merge_concat"] == [(64, 16), (80, 16), (96, 16), (112, 16)]
    assert weights(build("merge_add")) == 4 * 9 * 64 * 64 == 147_456
    assert weights(build("merge_concat")) == 9 * 16 * (64 + 80 + 96 + 112) == 50_688


def test_a_concatenation_leaves_its_input_as_it_is() -> None:
    image = torch.rand(1, 64, 32, 32)
    with torch.no_grad():
        assert torch.equal(build("merge_concat")(image)[:, :64], image)
        assert not torch.equal(build("merge_add")(image), image)
