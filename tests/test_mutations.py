"""Valid specs with random mistakes are refused in words, or describe networks that run.

The mistakes are drawn from fixed seeds, so every run tries the same ones. `python
scripts/soak.py mutants` and `... offspring` try more.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

import archdsl
from tests.mutations import NAMES, check_diagnostic, examine, mutant, offspring

CASES = 1000
BATCH = 100

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")


@pytest.mark.parametrize("first", range(0, CASES, BATCH))
@pytest.mark.parametrize("make", [mutant, offspring])
def test_mutations(make: Callable[[int], str], first: int) -> None:
    for case in range(first, first + BATCH):
        text = make(case)
        try:
            examine(text)
        except Exception as error:
            error.add_note(f"in {make.__name__} {case}:\n{text}")
            raise


def test_mistakes_are_made_and_found() -> None:
    """Most mistakes make a spec invalid, and some do not."""
    place = NAMES.index("vgg.arch")
    cases = [place + turn * len(NAMES) for turn in range(40)]
    fates = [examine(mutant(case)).fate for case in cases]
    assert 10 < fates.count("refused") < 38


# ---- specs that once failed
# -------------------------------------------------------------


def refusal(text: str) -> str:
    with pytest.raises(archdsl.SpecError) as caught:
        archdsl.loads(text, name="mutant.arch")
    (diagnostic,) = caught.value.diagnostics
    check_diagnostic(diagnostic, text)
    return diagnostic.message


def test_which_network_is_asked_at_a_place() -> None:
    one = "network {} {{\n    input 3x8x8\n    conv 3x3\n}}\n"
    text = "arch 1\n" + one.format("One") + one.format("Two")
    assert refusal(text) == "the file defines several networks: One, Two"


@pytest.mark.parametrize(
    ("scheme", "why"),
    [
        ("normal(std = -1)", "`std` cannot be below 0"),
        ("xavier_uniform(gain = -0.5)", "`gain` cannot be below 0"),
        ("trunc_normal(std = 0)", "`std` cannot be 0"),
        ("uniform(a = 2)", "the lower bound 2 is above the upper bound 1"),
        ("trunc_normal(b = -3)", "the lower bound -2 is above the upper bound -3"),
        (
            'kaiming_normal(mode = "relu")',
            '`mode` is "fan_in" or "fan_out", not "relu"',
        ),
        (
            'kaiming_uniform(nonlinearity = "fan_in")',
            '`nonlinearity` cannot be "fan_in"',
        ),
    ],
)
def test_what_torch_cannot_draw_is_refused(scheme: str, why: str) -> None:
    head = "arch 1\nnetwork Net {\n    input 3x8x8\n    conv 3x3\n"
    found = refusal(f"{head}    init conv weight={scheme}\n}}\n")
    assert found == f"{scheme.partition('(')[0]}: {why}"


def test_a_message_has_no_sign_that_steers_a_terminal() -> None:
    head = "arch 1\nnetwork Net {\n    input 3x8x8\n    for i in range(2) { "
    found = refusal(f"{head}a{{i \t 1}}: relu }}\n}}\n")
    assert found == "`i   1` is not an expression"


@pytest.mark.parametrize("init", ["bn weight", "conv bias", "@conv1 bias"])
def test_a_tensor_of_one_axis_has_no_fan(init: str) -> None:
    head = "arch 1\nnetwork Net {\n    input 3x8x8\n    conv 3x3 bias=true\n    bn\n"
    found = refusal(f"{head}    init {init}=xavier_normal\n}}\n")
    assert found == f"xavier_normal: a {init.split()[1]} with a single axis has no fan"
