"""`compile --modules`: hooks, and libraries that use them, see activations."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from captum.attr import DeepLift, GuidedBackprop
from torch import Tensor, nn

import archdsl
from archdsl.cli import main
from tests.comparing import with_statistics

# One of each family that calls functions.
PRESETS = [
    "resnet18",
    "googlenet",
    "densenet121",
    "mobilenet_v3_small",
    "squeezenet1_1",
]
KINDS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "hardswish": nn.Hardswish,
    "hardsigmoid": nn.Hardsigmoid,
    "maxpool": nn.MaxPool2d,
    "dropout": nn.Dropout,
}


def both(name: str) -> tuple[archdsl.Network, nn.Module, nn.Module]:
    """Return a network, and both forms of its module with the same weights."""
    network = archdsl.load(name, input="3x64x64")
    torch.manual_seed(0)
    plain = with_statistics(archdsl.build(network)).eval()
    modules = archdsl.build(network, as_modules=True).eval()
    # Equal keys in equal order: none of the new modules has weights.
    assert list(modules.state_dict()) == list(plain.state_dict())
    modules.load_state_dict(plain.state_dict(), strict=True)
    return network, plain, modules


@pytest.mark.parametrize("name", PRESETS)
def test_layers_are_modules_and_compute_the_same(name: str) -> None:
    network, plain, modules = both(name)
    found = Counter(type(module) for module in modules.modules())
    wanted = Counter(step.op.word for step in network.steps())
    for word, kind in KINDS.items():
        assert found[kind] == wanted[word], word
    x = torch.randn(2, 3, 64, 64)
    given = x.clone()
    with torch.no_grad():
        assert torch.equal(modules(x), plain(x))
    assert torch.equal(x, given)


def test_hooks_see_each_activation_before_and_after() -> None:
    """A tensor kept by a hook does not change, since no layer overwrites its input."""
    _, _, modules = both("resnet18")
    kept: list[tuple[Tensor, Tensor]] = []
    for module in modules.modules():
        if isinstance(module, nn.ReLU):
            assert not module.inplace
            module.register_forward_hook(
                lambda _, given, out: kept.append((given[0], out))
            )
    with torch.no_grad():
        modules(torch.randn(1, 3, 64, 64))
    assert len(kept) == 17
    for before, after in kept:
        assert before.min() < 0
        assert torch.equal(after, before.clamp(min=0))


class _Guided(torch.autograd.Function):
    """relu that only passes positive gradients on, where the input is positive.

    Source: Springenberg et al. 2014, section 3.4.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,), (gradient,) = ctx.saved_tensors, gradients
        return gradient * ((x > 0) & (gradient > 0))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_guided_backpropagation_by_captum(monkeypatch: pytest.MonkeyPatch) -> None:
    """With modules, it equals the rule itself; with functions, it has no effect."""
    _, plain, modules = both("resnet18")
    plain, modules = plain.double(), modules.double()
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64, requires_grad=True)
    found = GuidedBackprop(modules).attribute(x, target=3)
    unseen = GuidedBackprop(plain).attribute(x, target=3)
    monkeypatch.setattr(F, "relu", lambda x, inplace=False: _Guided.apply(x))
    (wanted,) = torch.autograd.grad(plain(x)[0, 3], x)
    assert torch.allclose(found, wanted, rtol=1e-10, atol=1e-12)
    assert not torch.allclose(unseen, wanted, rtol=0.1)


def test_deeplift_by_captum_adds_up() -> None:
    """The contributions of all inputs sum to the difference of the outputs."""
    _, _, modules = both("resnet18")
    modules = modules.double()
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = DeepLift(modules).attribute(x, torch.zeros_like(x), target=3)
    with torch.no_grad():
        difference = (modules(x) - modules(torch.zeros_like(x)))[0, 3]
    assert torch.allclose(parts.sum(), difference, rtol=1e-6)


def test_the_command_writes_what_build_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", "resnet18", "--modules"]) == 0
    text = capsys.readouterr().out
    assert text == archdsl.emit("resnet18", as_modules=True)
    assert "self.relu1 = nn.ReLU()" in text
    assert not re.search(r"\bF\.|inplace", text)
    assert archdsl.emit("resnet18") != text


def test_only_a_bool_is_taken() -> None:
    with pytest.raises(TypeError, match="as_modules"):
        archdsl.emit("resnet18", as_modules="yes")  # type: ignore[arg-type]
