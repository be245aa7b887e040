"""Random valid specs: the analysis must agree with the built module.

`agree` compares shapes, wiring, parameters, MACs, saved bytes and receptive fields;
tests/test_agree.py shows what it notices. `faults` also compares the module with an
interpreter of the network's steps; see tests/test_executor.py. `python scripts/soak.py
specs` tries more specs.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings

import archdsl
from archdsl.backends.torch.verification import agree
from tests.comparing import faults
from tests.generated import specimen, specs

CASES = 500
BATCH = 50

pytestmark = [
    pytest.mark.filterwarnings("ignore:Using padding='same'"),
    pytest.mark.usefixtures("quick_on_meta"),
]


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep thousands of small specs out of the cache of syntax trees."""
    monkeypatch.setenv("ARCHDSL_CACHE", "off")


def check(text: str) -> None:
    found = faults(text)
    assert not found, found


@pytest.mark.parametrize("first", range(0, CASES, BATCH))
def test_specimens(first: int) -> None:
    for case in range(first, first + BATCH):
        text = specimen(case)
        try:
            check(text)
        except AssertionError as error:
            error.add_note(f"in specimen {case}:\n{text}")
            raise


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)
@given(specs())
def test_drawn_specs(text: str) -> None:
    check(text)


# ---- specs that once failed
# -------------------------------------------------------------


def net(*statements: str, input: str = "2x8x8", before: str = "") -> archdsl.Network:
    body = "".join(f"    {line}\n" for line in statements)
    return archdsl.loads(
        f"arch 1\n{before}\nnetwork Net {{\n    input {input}\n{body}}}\n"
    )


def test_inference_leaves_out_training_outputs_among_others() -> None:
    network = net(
        "low: conv 3x3",
        "training output @low -> aux: relu",
        "output @low -> edges: conv 1x1 3",
        "conv 3x3 4",
    )
    assert [port.name for port in network.outputs] == ["output", "edges", "aux"]
    module = archdsl.build(network)
    x = torch.rand(2, 2, 8, 8)
    made = module.eval()(x)
    assert {name: y.shape[1] for name, y in made.items()} == {"output": 4, "edges": 3}
    assert module.train()(x)["aux"].shape[1] == 2
    assert not agree(network).differences


def test_a_shared_module_writes_in_place_only_if_each_use_may() -> None:
    network = net("conv 3x3", "act: relu", "conv 3x3 -> sigmoid -> same act -> bn")
    archdsl.build(network)(torch.rand(2, 2, 8, 8)).sum().backward()
    assert not agree(network).differences
    assert "inplace" not in archdsl.emit(network)


def test_a_shared_norm_keeps_statistics_each_time() -> None:
    assert not agree(net("conv 3x3", "n: layernorm", "relu -> same n")).differences


@pytest.mark.parametrize("block", [False, True])
def test_what_is_written_in_place_is_what_the_analysis_says(block: bool) -> None:
    before = "block unit { leakyrelu -> conv 1x1 }" if block else ""
    last = "unit" if block else "leakyrelu -> conv 1x1"
    network = net("for w in [4, 6] { conv 1x1 w -> bn }", last, before=before)
    assert ("inplace" in archdsl.emit(network)) is not block
    assert not agree(network).differences


def test_a_branch_sees_no_further_than_its_own_last_unit() -> None:
    # The pool drops the last row, which no path sees.
    network = net("avgpool 4x2", "residual { conv 5x5 3 }", input="4x5x12")
    field = archdsl.analyze(network).receptive_field
    assert field is not None and field.visible[0] == 4
    assert not agree(network).differences


def test_a_window_in_the_padding_sees_nothing() -> None:
    assert not agree(net("conv 2x2 -> conv 3x3", "conv 2x2 pad=2x2")).differences


def test_padding_at_the_end_shows_no_further() -> None:
    # The pool's two units end at row 4, and the rows behind them are empty.
    network = net(
        "avgpool 3x3 pad=1x0",
        "zeropad bottom=2",
        "maxpool 3x1 ceil=true",
        input="1x6x8",
    )
    field = archdsl.analyze(network).receptive_field
    assert field is not None and field.visible[0] == 5
    assert not agree(network).differences
