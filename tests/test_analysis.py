"""The whole report: totals, depth, expectations, JSON, and its speed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from torch import nn

import archdsl
from archdsl.backends.table import report
from archdsl.figures import CLAIMED
from archdsl.ir.graph import flatten, plain_layer
from archdsl.layer import kind
from archdsl.passes.analysis import Analysis, analyze
from archdsl.passes.depth import depth
from archdsl.passes.expect import check_expectations
from archdsl.symbolic import Poly, Sym, SymFloat
from tests.handmade import Sketch, chain
from tests.oracle import CASES, Case, every_case
from tests.timing import cpu_seconds


def _googlenet() -> Analysis:
    return analyze(CASES["googlenet"].load())


# ---- totals --------------------------------------------------------------------


def test_totals_by_hand() -> None:
    # LeCun et al. 1998, figure 2, with all maps connected and max pooling.
    analysis = analyze(
        chain(
            (1, 32, 32),
            ("conv", {"kernel": (5, 5), "width": 6, "pad": (0, 0)}),
            "tanh",
            ("maxpool", {"kernel": (2, 2)}),
            ("conv", {"kernel": (5, 5), "width": 16, "pad": (0, 0)}),
            "tanh",
            ("maxpool", {"kernel": (2, 2)}),
            "flatten",
            ("linear", {"width": 120}),
            "tanh",
            ("linear", {"width": 10}),
        )
    )
    conv1, conv2 = 6 * 28 * 28, 16 * 10 * 10
    weights = 6 * 25, 16 * 6 * 25, 120 * 400, 10 * 120
    assert analysis.params == sum(weights) + 6 + 16 + 120 + 10
    assert analysis.trainable == analysis.params and analysis.buffers == 0
    assert analysis.macs == conv1 * 25 + conv2 * 150 + 120 * 400 + 10 * 120
    # Biases, one operation per tanh, three comparisons per maximum.
    others = 2 * conv1 + 2 * conv2 + 2 * 120 + 10 + 3 * (6 * 14 * 14 + 16 * 5 * 5)
    assert analysis.flops == 2 * analysis.macs + others
    assert analysis.depth == 4
    assert analysis.output == (10,)
    assert [layer.macs for layer in analysis.layers if layer.macs] == [
        conv1 * 25,
        conv2 * 150,
        120 * 400,
        10 * 120,
    ]


def test_buffers_count_the_batches_seen() -> None:
    analysis = analyze(chain((3, 8, 8), "bn"))
    assert (analysis.params, analysis.buffers) == (6, 7)
    assert analysis.buffers == sum(b.numel() for b in nn.BatchNorm2d(3).buffers())


def test_auxiliary_heads_are_told_apart() -> None:
    analysis = _googlenet()
    assert analysis.params == 13_004_888
    assert analysis.params - analysis.auxiliary.params == 6_624_904
    assert analysis.macs == 1_498_376_192
    assert analysis.macs + analysis.auxiliary.macs == 1_506_748_416
    alone = analyze(CASES["googlenet_no_aux"].load())
    assert alone.params == 6_624_904 and alone.auxiliary.params == 0
    assert (alone.macs, alone.flops) == (analysis.macs, analysis.flops)
    assert alone.memory.forward_peak_bytes == analysis.memory.forward_peak_bytes


@every_case
def test_totals_are_sums_of_the_layers(case: Case) -> None:
    analysis = case.analysis()
    layers = analysis.layers
    assert sum(layer.params for layer in layers) == analysis.params
    assert sum(layer.cost.buffers for layer in layers) == analysis.buffers
    assert sum(layer.macs for layer in layers) == (
        analysis.macs + analysis.auxiliary.macs
    )
    assert sum(layer.cost.flops for layer in layers) == (
        analysis.flops + analysis.auxiliary.flops
    )


# ---- depth ---------------------------------------------------------------------


@every_case
def test_depth_is_that_of_the_papers_name(case: Case) -> None:
    assert case.analysis().depth == case.depth


def test_depth_is_along_the_longest_path() -> None:
    sketch = Sketch((4, 8, 8))
    one = sketch.add("conv", 0, kernel=(1, 1))
    two = sketch.add("conv", sketch.add("relu", one), kernel=(1, 1))
    sketch.add("conv", 0, kernel=(1, 1))  # a branch that nothing reads
    sketch.add("add", two, one)
    assert depth(flatten(sketch.network())) == 2


def test_projections_and_heads_are_not_deep() -> None:
    sketch = Sketch((4, 8, 8))
    shortcut = sketch.add("conv", 0, kernel=(1, 1), shortcut=True)
    added = sketch.add("add", sketch.add("bn", 0), shortcut)
    head = sketch.add("conv", added, kernel=(1, 1), training=True)
    assert depth(flatten(sketch.network(added, training=[head]))) == 0


# ---- expressions ---------------------------------------------------------------


def test_expressions_are_computed_with_as_numbers() -> None:
    conv = kind("conv")
    assert conv is not None
    width = Sym(8, Poly.name("width"))
    layer = plain_layer(conv(kernel=(Sym(3, Poly.name("k")), 3), width=width))
    assert layer == conv(kernel=(3, 3), width=8)
    for value in (*layer.kernel, layer.width):  # type: ignore[attr-defined]
        assert type(value) is int
    dropout = kind("dropout")
    assert dropout is not None
    assert type(plain_layer(dropout(p=SymFloat(0.4, "p"))).p) is float  # type: ignore[attr-defined]


@every_case
def test_expressions_do_not_change_the_report(case: Case) -> None:
    plain = archdsl.load(case.preset, params=case.params or None, symbolic=False)
    assert analyze(plain).as_dict() == case.analysis().as_dict()


# ---- expectations --------------------------------------------------------------


def _claimed(*claims: tuple[str, str, Any]) -> list[str]:
    sketch = Sketch((3, 8, 8))
    sketch.add("conv", kernel=(3, 3), width=4)
    sketch.add("bn")
    network = sketch.network(expect=claims)
    return [d.message for d in check_expectations(network, analyze(network))]


def test_true_claims_are_silent() -> None:
    macs = 4 * 64 * 27
    assert not _claimed(
        ("params", "==", 4 * 27 + 4 + 8),
        ("trainable", "<=", 120),
        ("buffers", "!=", 0),
        ("macs", "==", macs),
        ("flops", ">=", 2 * macs),
        ("depth", "<", 2),
        ("layers", ">", 1),
        ("output", "==", (4, 8, 8)),
        ("output", "!=", 1000),
        ("receptive_field", "==", 3),
        ("receptive_field", "==", (3, 3)),
    )


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        (("params", "==", 5), "expected params == 5, the network has 120"),
        (("macs", "<", 6_000), "expected macs < 6_000, the network has 6_912"),
        (("depth", ">", 1), "expected depth > 1, the network has 1"),
        (("layers", "!=", 2), "expected layers != 2, the network has 2"),
        (("output", "==", 1000), "expected output == 1_000, the network has 4x8x8"),
        (
            ("receptive_field", "==", (3, 5)),
            "expected receptive_field == 3x5, the network has 3x3",
        ),
    ],
)
def test_false_claims_are_refuted(claim: tuple[str, str, Any], message: str) -> None:
    assert _claimed(claim) == [message]


def test_a_refuted_claim_stands_in_the_source() -> None:
    network = chain((3, 8, 8), "relu")
    claimed = Sketch((3, 8, 8)).network(0, expect=[("depth", "==", 9)])
    (diagnostic,) = check_expectations(claimed, analyze(network))
    assert diagnostic.code == "A0401"
    assert diagnostic.span == claimed.expectations[0].span
    assert diagnostic.label == "the network has 0"


def test_a_vector_has_no_receptive_field_to_claim() -> None:
    sketch = Sketch((8,))
    network = sketch.network(0, expect=[("receptive_field", "<", 9)])
    (diagnostic,) = check_expectations(network, analyze(network))
    assert diagnostic.message == ("expected receptive_field < 9, the network has none")


@pytest.mark.parametrize("measure", CLAIMED)
def test_every_measure_can_be_claimed(measure: str) -> None:
    assert len(_claimed((measure, "<", 0))) == 1


# ---- JSON ----------------------------------------------------------------------


def test_json_has_the_promised_keys() -> None:
    facts = json.loads(json.dumps(_googlenet().as_dict()))
    assert {
        "schema",
        "name",
        "input",
        "output",
        "inputs",
        "outputs",
        "params",
        "trainable",
        "buffers",
        "depth",
        "macs",
        "flops",
        "mode",
        "costs",
        "auxiliary",
        "count",
        "receptive_field",
        "smallest_input",
        "coverage",
        "alignment",
        "gradient_paths",
        "time",
        "memory",
        "fits",
        "layers",
    } == facts.keys()
    assert facts["schema"] == 1
    assert (facts["input"], facts["output"]) == ([3, 224, 224], [1000])
    assert [(p["shape"], p["training"]) for p in facts["outputs"]] == [
        ([1000], False),
        ([1000], True),
        ([1000], True),
    ]
    assert facts["receptive_field"] == {
        "size": [379, 379],
        "jump": [32, 32],
        "start": [-167, -167],
        "visible": [224, 224],
        "exact": True,
        "whole": False,
        "interval": [[-167, 211], [-167, 211]],
        # By hand: 7 + 2 * 2 + 2 * 4 + 2 * 4 + 2 * 8 + 1 * 16, and 1x1 all the way.
        "minimum": [59, 59],
        "maximum": [379, 379],
        "share": 1.0,
        "smallest": [379, 379],
        "local": [379, 379],
        "local_smallest": [379, 379],
        "bound": None,
        "paths_exact": True,
    }
    memory = facts["memory"]
    assert (memory["batch"], memory["dtype"]) == (1, "float32")
    assert memory["param_bytes"] == 4 * 13_004_888


def test_json_has_the_promised_keys_of_layers() -> None:
    facts = _googlenet().as_dict()
    conv = facts["layers"][0]
    concat = next(layer for layer in facts["layers"] if layer["kind"] == "concat")
    assert {
        "name",
        "kind",
        "line",
        "file",
        "training",
        "input",
        "inputs",
        "output",
        "params",
        "trainable",
        "buffers",
        "macs",
        "flops",
        "ops",
        "ops_per_batch",
        "batch_flops",
        "backward_macs",
        "bytes_read",
        "bytes_written",
        "intensity",
        "count",
        "receptive_field",
        "coverage",
        "alignment",
        "gradient_paths",
        "saved",
        "time",
    } == conv.keys()
    assert (conv["name"], conv["kind"]) == ("conv1.conv", "conv")
    assert (conv["input"], conv["output"]) == ([3, 224, 224], [64, 112, 112])
    assert conv["params"] == 64 * 3 * 49
    assert conv["file"].endswith("googlenet.arch") and conv["line"] > 1
    assert len(concat["inputs"]) == 4


def test_json_holds_plain_numbers() -> None:
    def check(value: Any) -> None:
        if isinstance(value, dict):
            for part in value.values():
                check(part)
        elif isinstance(value, list):
            for part in value:
                check(part)
        else:
            assert type(value) in (int, float, str, bool, type(None))

    check(analyze(CASES["resnet50"].load()).as_dict())


# ---- a layer that is used twice -------------------------------------------------

TWICE = """arch 1

network Twice {
    input 3x8x8
    a: conv 3x3 3 -> bn
    same a -> bn
}
"""


def test_the_second_use_of_a_layer_has_no_other_bias() -> None:
    first, second = (x for x in analyze(archdsl.loads(TWICE)).layers if x.name == "a")
    assert first.cost.bias == second.cost.bias == 0
    assert (first.params, second.params) == (81, 0)


def test_both_uses_of_a_layer_have_their_own_figures() -> None:
    facts = analyze(archdsl.loads(TWICE))
    macs = 81 * 64
    # Only the second one has an input that depends on a parameter.
    assert [x.work.backward_macs for x in facts.layers] == [macs, 0, 2 * macs, 0]
    rows = report(facts.network, facts.as_dict(), views=["costs"]).splitlines()[3:7]
    assert [row.split()[-1] for row in rows] == ["5,184", "-", "10,368", "-"]
    kept = sum(tensor["bytes"] for x in facts.layers for tensor in x.saved)
    assert kept == facts.memory.saved_bytes


# ---- speed ---------------------------------------------------------------------


def _seconds(network: archdsl.Network) -> float:
    return cpu_seconds(lambda: analyze(network))


def test_googlenet_is_analysed_in_milliseconds() -> None:
    # It took 3 ms when this was written; other tests share the processor.
    assert _seconds(CASES["googlenet"].load()) < 0.03


def test_a_long_chain_is_linear() -> None:
    conv = ("conv", {"kernel": (3, 3)})
    short, long = (_seconds(chain((1, 8, 8), *[conv] * n)) for n in (1_000, 10_000))
    assert long < 30 * short
    assert long < 3


def test_a_dense_block_is_no_worse_than_its_edges() -> None:
    def dense(layers: int) -> archdsl.Network:
        sketch = Sketch((1, 8, 8))
        values = [0]
        for _ in range(layers):
            joined = sketch.add("concat", *values) if len(values) > 1 else 0
            values.append(sketch.add("conv", joined, kernel=(3, 3), width=1))
        return sketch.network()

    small, large = _seconds(dense(125)), _seconds(dense(500))
    assert large < 3 * 16 * small
    assert large < 5


def test_torch_is_never_imported() -> None:
    script = (
        "import sys, archdsl\n"
        "archdsl.analyze(archdsl.load('googlenet'), batch=2).as_dict()\n"
        "assert not {'torch', 'numpy'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
