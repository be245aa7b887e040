"""`archdsl check --torch` finds the differences that it is meant to find."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import nn

import archdsl
from archdsl.backends.torch import verification as package
from archdsl.backends.torch.verification import Agreement, agree
from archdsl.backends.torch.verification.dependence import (
    dependencies,
    ends,
    maxima,
    position_image,
)
from archdsl.backends.torch.verification.trace import intercept
from archdsl.cli import main
from archdsl.layer import kind
from archdsl.values import Last
from tests.conftest import ROOT
from tests.handmade import Interpreted, Sketch
from tests.seeing import BLIND, seeing
from tests.strategies import KINDS, sketches

SPEC = """arch 1

network Net {
    input 3x16x16
    stem: conv 3x3 8 /2 -> bn -> relu
    residual { a: conv 3x3 -> bn -> relu; b: conv 3x3 }
    concat { maxpool 3x3 /1 pad=1x1 | conv 1x1 4 }
    training output @stem -> aux: conv 1x1 2
    globalavgpool
    head: linear 10
}
"""


def differences(found: Agreement) -> set[tuple[str, str]]:
    return {(each.what, each.path) for each in found.differences}


def against(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], None]
) -> set[tuple[str, str]]:
    """Return the differences after the built module is changed."""
    real = package.build

    def build(network: archdsl.Network, **options: Any) -> nn.Module:
        module = real(network, **options)
        change(module)
        return module

    monkeypatch.setattr(package, "build", build)
    return differences(agree(archdsl.loads(SPEC)))


def test_nothing_differs() -> None:
    found = agree(archdsl.loads(SPEC))
    assert not found.differences and not found.skipped
    counted = found.compared
    # Fourteen layers, among them two activations, a sum, a pool, a merge and a head.
    assert counted["output shape (train)"] == counted["receptive field"] + 2
    assert counted["output shape (eval)"] < counted["output shape (train)"]
    assert counted["saved bytes"] == 1


def test_another_width_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(module: Any) -> None:
        module.head = nn.Linear(12, 11, device="meta")

    found = against(monkeypatch, change)
    assert ("output shape (eval)", "head") in found
    assert ("tensor", "head.weight") in found
    assert ("MACs (train)", "head") in found


def test_a_wider_window_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(module: Any) -> None:
        module.b = nn.Conv2d(8, 8, 3, padding=2, dilation=2, device="meta")

    assert {what for what, _ in against(monkeypatch, change)} == {"receptive field"}


def test_another_activation_in_place_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def change(module: Any) -> None:
        # silu keeps its input for the backward pass, relu its output.
        module.bn1 = nn.Sequential(module.bn1, nn.SiLU())

    found = against(monkeypatch, change)
    assert ("saved bytes", "") in found


def test_other_wiring_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(module: Any) -> None:
        first, second = module.a, module.b
        module.forward = lambda x: module.head(
            torch.zeros(len(x), 12, device=x.device)
            + second(first(module.stem(x))).mean()
        )

    found = against(monkeypatch, change)
    assert ("layer (eval)", "bn1") in found


def test_what_a_module_raises_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(module: Any) -> None:
        module.head = nn.Linear(7, 10, device="meta")

    assert ("inference", "") in against(monkeypatch, change)


# ---- receptive fields, against gradients ------------------------------------------


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    sketches(
        # `reshape` is not followed, since channels become positions.
        tuple(sorted(KINDS.keys() - BLIND - {"difference", "reshape"})),
        start=(2, 9, 8),
        most=6,
    )
)
def test_dependencies_are_those_of_gradients(sketch: Sketch) -> None:
    network = sketch.network()
    if any(abs(getattr(step.op, "factor", 1)) < 1e-3 for step in network.steps()):
        return  # a factor of almost 0 passes no gradient
    module = seeing(network)
    image = torch.rand(1, 2, 9, 8, dtype=torch.float64).add(0.5).requires_grad_()
    values = module.values(image)
    with torch.device("meta"):
        unread = Interpreted(network).eval()
    start = position_image((2, 9, 8))
    with torch.no_grad(), intercept(dependencies):
        found = unread.values(start)
    for number, value in values.items():
        shape = tuple(value.shape[1:])
        if len(shape) == 1 or not value.requires_grad:
            continue
        if isinstance(module.graph.shapes[number], Last):
            shape = Last(shape)
        spans = ends(maxima(found[number]), shape, axes=2)
        for axis, units in enumerate(spans):
            dim = 1 + axis if isinstance(shape, Last) else 2 + axis
            for unit in {0, len(units) - 1}:
                part = value.select(dim, unit).sum()
                (gradient,) = torch.autograd.grad(part, image, retain_graph=True)
                seen = gradient.abs().sum((0, 1, 3 - axis)).nonzero().flatten()
                if len(seen):
                    assert units[unit] == (int(seen[0]), int(seen[-1]))
                else:
                    assert units[unit][0] > units[unit][1]


# ---- the command ----------------------------------------------------------------


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    library = ROOT / "specs" / "std" / "widths.arch"
    assert main(["check", "--torch", "alexnet", str(library)]) == 0
    out = capsys.readouterr().out
    assert "alexnet: ok (alexnet, " in out and "figures as in torch)" in out
    assert "blocks only" in out


@pytest.mark.parametrize("kind_", ["params", "macs"])
def test_a_wrong_declaration_is_an_error_at_its_layer(
    kind_: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "net.arch"
    path.write_text(
        'arch 1\nop act {\n    torch = "torch.nn.PReLU"\n    params = 1\n'
        "    macs = 0\n    pointwise = true\n}\n"
        "network Net {\n    input 3x8x8\n    conv 3x3 -> gate: act\n}\n"
    )
    assert main(["check", "--torch", str(path)]) == 0
    path.write_text(path.read_text().replace(f"{kind_} = ", f"{kind_} = 5"))
    capsys.readouterr()
    assert main(["check", "--torch", str(path)]) == 1
    err = capsys.readouterr().err
    assert "error[A0701]" in err and "net.arch:10:" in err


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    import json

    assert main(["check", "--torch", "--json", "tutorial/merge"]) == 0
    (file,) = json.loads(capsys.readouterr().out)["files"]
    assert set(file["torch"]) == set(file["networks"])
    for facts in file["torch"].values():
        assert facts["differences"] == [] and facts["compared"]["saved bytes"] == 1


def test_foreign_code_has_to_be_allowed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ROOT / "examples" / "foreign"
    spec = str(folder / "attentive.arch")
    assert main(["check", "--torch", spec]) == 2
    assert "--allow-foreign" in capsys.readouterr().err
    monkeypatch.syspath_prepend(folder)
    try:
        assert main(["check", "--torch", "--allow-foreign", spec]) == 0
    finally:
        sys.modules.pop("attention", None)
    assert "not compared, saved bytes" in capsys.readouterr().out


def test_without_torch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["check", "--torch", "alexnet"]) == 3
    assert 'pip install "archdsl[torch]"' in capsys.readouterr().err
    assert main(["check", "alexnet"]) == 0


def test_every_kind_of_layer_is_seen_through() -> None:
    """The functions of a new kind have to be added to the known ones."""
    assert kind("relu6") is not None
    for word in ("relu6", "hardswish", "lrn", "softmax", "layernorm", "groupnorm 2"):
        text = f"arch 1\nnetwork N {{\n    input 4x6x6\n    conv 3x3 -> {word}\n}}\n"
        assert not agree(archdsl.loads(text)).skipped
