"""Modules compute what the steps of their networks do, and mistakes would be noticed.

`tests.executor` computes a network step by step; `tests.comparing` compares a module
with it. Five hundred specs come from `tests.manual_specs`, which only knows the manual;
tests/test_differential.py uses those of `tests.generated`. `python scripts/soak.py
manual` and `python scripts/soak.py specs` try more.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import archdsl
from archdsl.layer import words
from tests import executor
from tests.comparing import differences, faults, running, skeleton
from tests.manual_specs import specimen

CASES = 500
BATCH = 50
# One in this many is also compared with its analysis, which doubles the time.
FIGURES = 20

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep thousands of small specs out of the cache of syntax trees."""
    monkeypatch.setenv("ARCHDSL_CACHE", "off")


@pytest.mark.parametrize("first", range(0, CASES, BATCH))
def test_specs_written_from_the_manual(first: int) -> None:
    for case in range(first, first + BATCH):
        text = specimen(case)
        found = faults(text, figures=case % FIGURES == 0)
        assert not found, f"{found} in specimen {case}:\n{text}"


# ---- the executor itself ----------------------------------------------------------


@pytest.mark.parametrize("word", sorted(words()))
def test_every_kind_can_be_executed(word: str) -> None:
    assert word in executor.KINDS


def net(*statements: str, input: str = "2x8x8", before: str = "") -> archdsl.Network:
    body = "".join(f"    {line}\n" for line in statements)
    return archdsl.loads(
        f"arch 1\n{before}\nnetwork Net {{\n    input {input}\n{body}}}\n"
    )


def run(network: archdsl.Network, **state: Any) -> torch.Tensor:
    """Return the output for an input that counts from 0, in inference."""
    shape = network.inputs[0].shape
    x = torch.arange(float(torch.Size(shape).numel())).reshape(1, *shape)
    given = {key: torch.tensor(value) for key, value in state.items()}
    keyed = {key.replace("_", ".", 1): value for key, value in given.items()}
    (output,) = executor.execute(network, keyed, [x], False).values()
    return output


def test_padding_the_end_more_by_hand() -> None:
    # Sums of each value and the one to its right, where 0 follows the last.
    network = net("conv 1x2 1 pad=same bias=false", input="1x1x3")
    sums = run(network, conv1_weight=[[[[1.0, 1.0]]]])
    assert sums.flatten().tolist() == [1, 3, 2]


def test_channels_that_change_places_by_hand() -> None:
    network = net("shuffle 2", input="4x1x1")
    assert run(network).flatten().tolist() == [0, 2, 1, 3]


def test_a_cropped_middle_by_hand() -> None:
    network = net("crop { | slice 0 -> avgpool 3x1 /1 }", input="1x4x1")
    assert run(network).flatten().tolist() == [1, 2]


def test_statistics_move_with_each_use_by_hand() -> None:
    # With momentum 0.5, a mean of 1 takes the running mean from 0 to 1/2; the norm's
    # own output has mean 0, so the second use halves it.
    network = net("n: bn momentum=0.5", "same n", input="1x2x2")
    state = executor.draw_state(network, 0)
    state["n.weight"], state["n.bias"] = torch.ones(1), torch.zeros(1)
    state["n.running_mean"] = torch.zeros(1)
    x = torch.tensor([0.0, 2.0]).repeat(4).reshape(2, 1, 2, 2)
    state = {key: v.float() if v.is_floating_point() else v for key, v in state.items()}
    before = int(state["n.num_batches_tracked"])
    executor.execute(network, state, [x], True)
    assert state["n.running_mean"].tolist() == pytest.approx([0.25])
    assert int(state["n.num_batches_tracked"]) == before + 2


def test_keys_of_a_layer_that_is_a_weight_stand_before_those_of_parts() -> None:
    network = net("conv 1x1", "g: { tanh; layerscale 0.5 }", "layerscale 0.5")
    order = ["layerscale1", "conv1.weight", "conv1.bias", "g.layerscale1"]
    found = list(executor.keys(network))
    assert found == order == list(archdsl.build(network).state_dict())


# ---- mistakes that a comparison must notice
# -------------------------------------------------------

ALTERED = net(
    "a: conv 3x3 2 -> bn -> relu",
    "output @a -> edges: conv 1x1 3",
    "training output @a -> aux: conv 1x1 3",
    "g: { conv 3x3 2 -> bn; tanh }",
    "add { conv 3x3 2 | @a }",
    "dropout 0.5",
)


def altered(old: str, new: str) -> nn.Module:
    """Return the network's module with a part of its text replaced."""
    text = archdsl.emit(ALTERED)
    assert text.count(old) == 1, text
    scope: dict[str, Any] = {"__name__": "wrong"}
    exec(text.replace(old, new), scope)
    module: nn.Module = scope["Net"]()
    return module


def test_a_right_module_has_no_differences() -> None:
    assert not differences(ALTERED, archdsl.build(ALTERED))


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("self.edges = nn.Conv2d(2, 3", "self.edges = nn.Conv2d(2, 4", "state_dict"),
        ("nn.Dropout(0.5)", "nn.Dropout(0.25)", "training: output output"),
        ("self.edges(a)", "self.edges(x)", "inference: output edges"),
        ("self.aux(a)", "self.aux(x)", "training: output aux"),
        ("self.g(x)", "self.g(x.detach())", "training: gradient of a.weight"),
        ("x = self.conv1(x) + a", "x = self.conv1(x) - a", "inference: output output"),
        (
            "self.bn1 = nn.BatchNorm2d(2)",
            "self.bn1 = nn.BatchNorm2d(2, momentum=0.2)",
            "training: bn1.running_mean",
        ),
    ],
)
def test_an_altered_module_has(old: str, new: str, what: str) -> None:
    assert any(
        found.startswith(what) for found in differences(ALTERED, altered(old, new))
    )


def test_an_output_in_another_place_is_seen() -> None:
    module = altered('{"output": x, "edges": edges}', '{"edges": edges, "output": x}')
    assert any("['output" in found for found in differences(ALTERED, module))


def test_a_layer_that_runs_twice_is_seen() -> None:
    assert differences(ALTERED, altered("x = self.g(x)", "x = self.g(self.g(x))"))


def test_a_file_that_fails_or_prints_another_shape_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = net("conv 3x3 4")
    text = archdsl.emit(network)
    assert not running(network)
    for old, new in (("randn(1, 2", "randn(1, 3"), ("kernel_size=3", "kernel_size=2")):
        assert old in text
        wrong = text.replace(old, new)
        monkeypatch.setattr(archdsl, "emit", lambda _, wrong=wrong: wrong)
        assert running(network)


@pytest.mark.parametrize(
    "other", ["conv 3x3 4 /2", "c: conv 3x3 4", "conv 3x3 4; relu"]
)
def test_another_network_is_seen(other: str) -> None:
    assert skeleton(net("conv 3x3 4")) == skeleton(net("conv 3x3  4"))
    assert skeleton(net("conv 3x3 4")) != skeleton(net(other))
