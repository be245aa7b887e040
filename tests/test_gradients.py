"""Gradient norms at initialisation, against hand calculations and differences."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import archdsl
from archdsl.backends.gradients import figure, gradient_report
from archdsl.backends.torch.gradients import Gradients, gradient_norms
from archdsl.cli import main
from archdsl.ir import Network

HEADS = """arch 1

network net {
    input 3x8x8
    low: conv 3x3 8 -> relu
    training output @low -> globalavgpool -> aux: linear 4
    twice: conv 3x3 8
    same twice
    globalavgpool
    fc: linear 4
}
"""


@pytest.fixture
def doubles() -> Iterator[None]:
    """Draw in float64, as the runs do."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def by_layer(found: Gradients) -> dict[str, float]:
    return {layer.step.path: layer.norm for layer in found.layers}


def drawn(network: Network, seed: int, batch: int) -> tuple[nn.Module, Tensor, Tensor]:
    """Return module, images and labels, drawn in the order that is documented."""
    torch.manual_seed(seed)
    module = archdsl.build(network).train()
    images = torch.randn(batch, *network.inputs[0].shape)
    # No layer of these networks draws random numbers in a run.
    labels = torch.randint(network.outputs[0].shape[0], (batch,))
    return module, images, labels


@pytest.mark.usefixtures("doubles")
def test_a_single_layers_gradient_by_hand() -> None:
    network = archdsl.loads("arch 1\nnetwork n {\n    input 5\n    fc: linear 3\n}\n")
    found = gradient_norms(network, batch=4, seeds=[7])
    module, images, labels = drawn(network, 7, 4)
    weight, bias = [p.detach() for p in module.parameters()]
    # The derivative by the logits is (softmax - one-hot) / samples.
    logits = images @ weight.T + bias
    slopes = (logits.softmax(1) - torch.eye(3, dtype=torch.float64)[labels]) / 4
    assert by_layer(found)["fc"] == pytest.approx(float((slopes.T @ images).norm()))
    assert found.layers[0].weight_norm == pytest.approx(float(weight.norm()))
    assert found.growth == ()


@pytest.fixture(scope="module")
def residual() -> Gradients:
    return gradient_norms(archdsl.load("residual20"), batch=4, seeds=[3])


@pytest.mark.usefixtures("doubles")
def test_the_norms_are_the_slopes_of_the_loss(residual: Gradients) -> None:
    """The slope of a function along its gradient is the norm of the gradient."""
    module, images, labels = drawn(archdsl.load("residual20"), 3, 4)

    def loss() -> Tensor:
        return F.cross_entropy(module(images), labels)

    norms = by_layer(residual)
    step = 1e-7  # so small that hardly any relu changes sides
    for path in ("conv1", "stage2.0.downsample.0", "stage2.1.conv2", "fc"):
        weight = module.get_parameter(f"{path}.weight")
        (slope,) = torch.autograd.grad(loss(), weight)
        way = step * slope / slope.norm()
        with torch.no_grad():
            weight += way
            above = loss()
            weight -= 2 * way
            below = loss()
            weight += way
        assert float(above - below) / (2 * step) == pytest.approx(
            norms[path], rel=1e-4
        ), path


def test_all_weighted_layers_have_one(residual: Gradients) -> None:
    network = archdsl.load("residual20")
    weighted = [s.path for s in network.steps() if s.op.word in ("conv", "linear")]
    assert [layer.step.path for layer in residual.layers] == weighted
    projections = [n.step.path for n in residual.layers if n.shortcut]
    assert projections == ["stage2.0.downsample.0", "stage3.0.downsample.0"]
    norms = by_layer(residual)
    assert residual.growth == (norms["conv1"] / norms["stage3.2.conv2"],)


def test_heads_are_left_out_and_shared_weights_count_once() -> None:
    network = archdsl.loads(HEADS)
    found = gradient_norms(network, batch=2)
    assert list(by_layer(found)) == ["low", "twice", "fc"]


def test_a_network_without_weights_has_none() -> None:
    network = archdsl.loads("arch 1\nnetwork n {\n    input 3x4x4\n    relu\n}\n")
    found = gradient_norms(network)
    assert (found.layers, found.growth) == ((), ())
    assert "first conv" not in gradient_report("n", found)


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("width", [1, 3])
def test_maps_and_single_logits_by_hand(width: int) -> None:
    """A 1x1 convolution is a linear layer at every position."""
    text = f"arch 1\nnetwork n {{\n    input 2x4x4\n    c: conv 1x1 {width}\n}}\n"
    network = archdsl.loads(text)
    torch.manual_seed(0)
    module = archdsl.build(network)
    images = torch.randn(2, 2, 4, 4)
    labels = torch.randint(max(width, 2), (2, 4, 4)).flatten()
    weight, bias = [p.detach() for p in module.parameters()]
    assert weight.dtype == torch.float64
    points = images.movedim(1, -1).flatten(0, -2)
    logits = points @ weight.flatten(1).T + bias
    one_hot = torch.eye(width, dtype=torch.float64)
    if width == 1:
        slopes = logits.sigmoid() - labels[:, None]
    else:
        slopes = logits.softmax(1) - one_hot[labels]
    norm = float((slopes.T @ points).norm()) / len(points)
    (layer,) = gradient_norms(network, batch=2).layers
    assert layer.norm == pytest.approx(norm)


def test_a_run_is_repeated_by_its_seed_and_leaves_no_trace() -> None:
    network = archdsl.loads(HEADS)
    before = torch.get_rng_state()
    once, again = (
        gradient_norms(network, seeds=[0, 1]),
        gradient_norms(network, seeds=[1, 0]),
    )
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_default_dtype() == torch.float32
    for one, other in zip(once.layers, again.layers, strict=True):
        assert one.norms == other.norms[::-1]
        assert one.norms[0] != one.norms[1]
        assert one.norm == sum(one.norms) / 2


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0.0, "0"),
        (3021.4, "3,020"),
        (19.66, "19.7"),
        (0.01234, "0.0123"),
        (1.234e-7, "1.23e-07"),
        (123_456_789.0, "1.23e+08"),
    ],
)
def test_figures_have_three_digits(number: float, shown: str) -> None:
    assert figure(number) == shown


# ---- the command ----------------------------------------------------------------


def test_the_table_has_the_medians(residual: Gradients) -> None:
    lines = gradient_report("residual20", residual).splitlines()
    (row,) = [line.split() for line in lines if line.startswith("stage1.0.conv1")]
    (layer,) = [n for n in residual.layers if n.step.path == "stage1.0.conv1"]
    assert row[4:6] == [figure(layer.norm), figure(layer.weight_norm)]
    assert all(len(line) <= 80 for line in lines)
    assert lines[-1].split()[2] == figure(residual.growth[0])


def test_the_command_measures(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["analyze", "plain20", "--input", "3x8x8", "--gradients"]
    assert main([*arguments, "--json", "--runs", "2", "--batch", "4"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["params"] == 269_722
    own = found["gradients"]
    assert (own["batch"], own["seeds"]) == (4, [0, 1])
    wanted = gradient_norms(
        archdsl.load("plain20", input="3x8x8"), batch=4, seeds=[0, 1]
    )
    assert own == wanted.as_dict()
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("plain20: gradients\n")
    assert "batch 8" in printed


def test_without_torch_the_command_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["analyze", "plain20", "--gradients"]) == 3
    assert 'pip install "archdsl[torch]"' in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["ImportError", "OSError"])
@pytest.mark.parametrize(
    "arguments", [("analyze", "plain20", "--gradients"), ("check", "--torch", "nin")]
)
def test_a_broken_torch_is_told_in_its_own_words(
    kind: str, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    """For example, if a shared library is missing; the error then names no module."""
    said = "libtorch_cpu.so: cannot open shared object file"
    (tmp_path / "torch").mkdir()
    text = f"raise {kind}({said!r})\n"
    (tmp_path / "torch" / "__init__.py").write_text(text, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-m", "archdsl", *arguments],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (3, "")
    assert f"broken: {said}" in ran.stderr


def test_a_batch_that_cannot_be_trained_on_is_wrong_usage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["analyze", "plain20", "--input", "3x4x4", "--gradients"]
    assert main([*arguments, "--batch", "1"]) == 2
    assert "cannot train on a batch of 1" in capsys.readouterr().err
