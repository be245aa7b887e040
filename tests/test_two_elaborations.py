"""Networks are the same whether or not their numbers carry expressions.

The analysis uses a network of plain numbers, and code generation one of numbers with
expressions. Both must be the same network, also for the random specs of
tests/test_differential.py and tests/test_executor.py.
"""

from __future__ import annotations

from typing import Any

import pytest

import archdsl
from archdsl.backends.torch.verification import agree
from archdsl.ir.graph import flatten
from archdsl.passes.smallest import smallest
from archdsl.resources import shipped_presets
from tests import presets
from tests.comparing import different_sizes, told
from tests.conftest import ROOT

CASES = ROOT / "tests" / "cases"


def compare(text_or_name: str, load: Any) -> None:
    networks = [load(text_or_name, symbolic=symbolic) for symbolic in (True, False)]
    assert told(networks[0]) == told(networks[1])
    assert not different_sizes(*networks)


@pytest.mark.parametrize("name", sorted(shipped_presets()))
def test_presets(name: str) -> None:
    compare(name, presets.network)


@pytest.mark.parametrize("name", sorted(shipped_presets()))
def test_presets_at_their_smallest_input(name: str) -> None:
    network = presets.network(name, symbolic=False)
    least = smallest(flatten(network), training=True)
    assert least is not None
    shape = (network.inputs[0].shape[0], *least.size)
    found = [archdsl.load(name, input=shape, symbolic=s) for s in (True, False)]
    assert told(found[0]) == told(found[1])


# ---- maps of few positions, where a stride may change nothing --------------------

SHAPES = ("2x1x1", "2x1x5", "2x2x2", "2x3x1")
BODIES = (
    "conv 3x3 width /stride -> bn",
    "maxpool 3x3 /2 pad=1 -> conv 1x1 width /stride",
    "conv 3x3 /2 -> bn -> conv 3x3 width /stride",
    "inner: { conv 1x1 width /stride -> bn }",
    "unit<width, stride>",
)
MODES = ("auto", "optional", "projection")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("shape", SHAPES)
def test_small_maps(shape: str, body: str, mode: str) -> None:
    compare(_small(shape, body, mode), archdsl.loads)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", SHAPES)
def test_small_maps_run(shape: str, mode: str) -> None:
    for body in BODIES:
        found = agree(archdsl.loads(_small(shape, body, mode)))
        assert not found.differences, [str(each) for each in found.differences]


def _small(shape: str, body: str, mode: str) -> str:
    """Return a spec that calls a residual with every kind of change of shape."""
    return f"""arch 1

block unit<width, stride = 1> {{
    conv 1x1 width /stride
}}

block sum<width, stride = 1> {{
    residual<shortcut = {mode}> {{ {body} }}
}}

network Net<last = 2> {{
    input {shape}
    sum<2>
    sum<2, stride = 2>
    sum<4, 2>
    sum<4, last>
    sum<4>
}}
"""


def test_a_stride_on_one_position_keeps_the_shape() -> None:
    """Two sums with the input itself: 2 x 2 x 9 weights and 4 of the norm, twice."""
    for symbolic in (True, False):
        network = archdsl.load(CASES / "two_elaborations.arch", symbolic=symbolic)
        assert [step.op.word for step in network.steps()] == ["conv", "bn", "add"] * 2
        assert archdsl.analyze(network).params == 2 * (2 * 2 * 9 + 4)


def test_the_test_of_a_projection_holds_for_each_call() -> None:
    """A stride of 2 needs a projection on a larger map, not on a single position."""
    text = """arch 1
block sum<stride> {
    residual { conv 3x3 /stride }
}
network Net {
    input 2x4x4
    sum<2>
    sum<1>
    sum<2>
    sum<2>
}
"""
    network = archdsl.loads(text)
    with_projection = {
        s.path.split(".")[0] for s in network.steps() if "down" in s.path
    }
    assert with_projection == {"sum1", "sum3"}
    assert not agree(network).differences


def test_sums_in_a_row_are_read_once_each() -> None:
    """Each value refers to its predecessor, not to its whole history."""
    rows = "".join(
        f"    a{i}: add {{ @a{i - 1} | conv 1x1 4 }}\n" for i in range(1, 60)
    )
    text = f"arch 1\nnetwork N {{\n    input 3x8x8\n    a0: conv 1x1 4 /2\n{rows}}}\n"
    compare(text, archdsl.loads)


# Values given instead of a default, which is then not computed; equal values of another
# type count as different.
GIVEN = {
    "another type": ("plain<width = 1>", "plain<width = true>", "A0204"),
    "a default without a value": ("plain<width = 8 // of>", "plain<width = 4>", ""),
    "the default itself": ("plain<width = 8 // (of + 1)>", "plain<width = 8>", ""),
}


@pytest.mark.parametrize("case", GIVEN)
def test_blocks_as_values(case: str) -> None:
    default, given, code = GIVEN[case]
    text = f"""arch 1
block plain<width> {{
    conv 3x3 width
}}
block once<of = 0, unit: block = {default}> {{
    unit
    scale of
}}
network Net {{
    input 4x8x8
    once<unit = {given}>
}}
"""
    if not code:
        compare(text, archdsl.loads)
        return
    for symbolic in (True, False):
        with pytest.raises(archdsl.SpecError, match=code):
            archdsl.loads(text, symbolic=symbolic)
