"""Small specs whose modules were once wrong, or did not run at all.

Hooks count how often each layer runs, and its MACs from the shapes that pass; the
expected numbers were counted by hand from the spec.
"""

from __future__ import annotations

import runpy
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import archdsl
from tests.comparing import faults
from tests.conftest import ROOT

CASES = ROOT / "tests" / "cases"


class Case(NamedTuple):
    """A spec, and what its module does.

    Attributes:
        name: name of the file.
        runs: how often each layer with weights runs, by path.
        macs: MACs of all of these runs.
        params: values of the network's parameters.
    """

    name: str
    runs: dict[str, int]
    macs: int
    params: dict[str, object]


# A 3x3 convolution from c to c channels at n positions: 9 c c n.
MAP = 9 * 3 * 3 * 64
MAPS = 9 * 3 * 3 * 77
CASES_OF_RUNS = [
    Case("loop_one_copy", {"conv1": 1, "conv2": 1}, 2 * MAP, {}),
    Case("loop_one_copy", {f"conv{n}": 1 for n in (1, 2, 3)}, 3 * MAP, {"count": 2}),
    Case("loop_one_copy", {"conv1": 1}, MAP, {"count": 0}),
    Case("loop_by_default", {f"conv{n}": 1 for n in (1, 2, 3, 4)}, 4 * MAP, {}),
    Case("loop_by_default", {"conv1": 1, "conv2": 1}, 2 * MAP, {"count": 1}),
    Case(
        "loop_silent",
        {
            "unit1.k0": 1,
            "unit1.side": 1,
            "unit2.k0": 1,
            "unit2.k1": 1,
            "unit2.side": 1,
        },
        5 * MAP,
        {},
    ),
    Case("loop_and_sibling", {"unit1.conv1": 1, "unit1.conv2": 1}, 2 * MAPS, {}),
    Case("loop_and_sibling", {"unit1.conv1": 1}, MAPS, {"count": 0}),
    Case("same_in_block", {"unit1.c": 2}, 18_432, {}),
    Case(
        "same_in_labelled_braces",
        {"tower.c": 2, "linear1": 1},
        18_432 + 4 * 64 * 2,
        {},
    ),
    Case("repeat_of_zero", {}, 0, {}),
    Case("seq_repeat_of_zero", {"unit1.0": 1, "unit1.1": 1}, 2 * 9 * 4 * 4 * 4, {}),
    Case("seq_repeat_of_zero", {"unit1.0": 1}, 9 * 4 * 4 * 4, {"skipped": 1}),
    Case(
        "residual_of_empty_block", {"downsample.0": 1, "conv1": 1}, 36 + 9 * 3 * 36, {}
    ),
    Case("outputs_out_of_order", {"conv2": 1, "linear1": 1}, 0, {}),
    Case(
        "tap_two_levels_up",
        {"b.conv1": 1, "b.t.v": 1, "b.t.u.conv1": 1},
        256 * (9 * 8 * 16 + 9 * 16 * 8 + 24 * 8),
        {},
    ),
]


def counted(module: nn.Module, x: Tensor) -> tuple[dict[str, int], int]:
    """Return how often each layer with weights ran, and its MACs."""
    runs: Counter[str] = Counter()
    macs = 0

    def note(name: str, layer: Any) -> None:
        def hook(_: nn.Module, args: Any, output: Tensor) -> None:
            nonlocal macs
            runs[name] += 1
            macs += output[0].numel() * layer.weight[0].numel()

        layer.register_forward_hook(hook)

    for name, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            note(name, layer)
    with torch.no_grad():
        module(x)
    return dict(runs), macs


@pytest.mark.parametrize("case", CASES_OF_RUNS, ids=lambda c: f"{c.name}{c.params}")
def test_each_layer_runs_as_often_as_the_spec_says(case: Case) -> None:
    network = archdsl.load(CASES / f"{case.name}.arch", params=case.params)
    module = archdsl.build(network).eval()
    runs, macs = counted(module, torch.randn(1, *network.inputs[0].shape))
    assert runs == case.runs
    assert macs == (case.macs or archdsl.analyze(network).macs)
    keys = {f"{path}.{kind}" for path in case.runs for kind in ("weight", "bias")}
    training = {port.value for port in network.outputs if port.training}
    rest = {s.path for s in network.steps() if s.training}
    assert {k for k in module.state_dict() if k.rpartition(".")[0] not in rest} == keys
    assert bool(training) == bool(rest)


def test_a_body_repeated_no_times_is_the_identity() -> None:
    module = archdsl.build(archdsl.load(CASES / "repeat_of_zero.arch"))
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(module(x), x + x)


@pytest.mark.parametrize(
    "name",
    [
        "empty_blocks",
        "lists_of_the_caller",
        "optional_of_empty_block",
        "order_of_calls",
    ],
)
def test_the_module_does_what_its_steps_do(name: str) -> None:
    assert faults((CASES / f"{name}.arch").read_text(encoding="utf-8")) == []


def test_calls_of_one_layer_run_in_the_order_of_the_spec() -> None:
    module = archdsl.build(archdsl.load(CASES / "order_of_calls.arch")).train()
    drawn = []
    module.l2.register_forward_pre_hook(lambda _, args: drawn.append(args[0].detach()))
    x = torch.rand(4, 2, 8, 8) - 2.0  # all negative, so relu gives 0
    module(x)
    assert torch.equal(drawn[0], x)
    assert not drawn[1].any()
    mean = torch.zeros(2)
    for value in drawn:
        mean = 0.5 * mean + 0.5 * value.mean((0, 2, 3))
    assert len(drawn) == 4
    assert torch.allclose(module.l2.running_mean, mean)
    # The auxiliary head reads a relu, the main path a tanh; the head runs later.
    assert float(drawn[3].min()) >= 0.0 > float(drawn[2].min())


@pytest.mark.parametrize("path", sorted({c.name for c in CASES_OF_RUNS}))
def test_runs_as_a_script(
    path: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    network = archdsl.load(CASES / f"{path}.arch")
    (tmp_path / "net.py").write_text(archdsl.emit(network), encoding="utf-8")
    runpy.run_path(str(tmp_path / "net.py"), run_name="__main__")
    always = [port for port in network.outputs if not port.training]
    shapes = [str((1, *map(int, port.shape))) for port in always]
    names = [f"{port.name} " if len(always) > 1 else "" for port in always]
    lines = [f"{name}{shape}" for name, shape in zip(names, shapes, strict=True)]
    assert capfd.readouterr().out.splitlines() == lines


def test_a_training_output_that_stands_first_is_not_the_main_one() -> None:
    module = archdsl.build(archdsl.load(CASES / "outputs_out_of_order.arch"))
    x = torch.randn(2, 3, 8, 8)
    trained = module.train()(x)
    assert {name: tuple(t.shape) for name, t in trained.items()} == {
        "output": (2, 5),
        "output1": (2, 8, 8, 8),
        "output2": (2, 4, 8, 8),
    }
    assert [*module.eval()(x)] == ["output", "output2"]


def test_numbers_alone_decide_nothing_in_a_constructor() -> None:
    """In the network's own body, it is known whether a residual is projected."""
    network = archdsl.loads(
        "arch 1\n\nnetwork Net {\n    input 4x9x5\n"
        "    residual { conv 3x3 32 -> bn } -> relu\n"
        "    residual { slice 0 (channels // 2) }\n}\n"
    )
    text = archdsl.emit(network)
    assert "if " not in text.partition('if __name__ == "__main__":')[0]
    assert "self.downsample2 = nn.Sequential(" in text
