"""Times by a roofline, and the table of devices."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import archdsl
from archdsl.backends.views import time as view
from archdsl.cli import main
from archdsl.ir.graph import Graph, flatten
from archdsl.passes.costs import costs
from archdsl.passes.devices import (
    FORMATS,
    Device,
    DeviceError,
    device,
    devices,
)
from archdsl.passes.roofline import (
    BOUNDS,
    Rates,
    Roofline,
    pass_time,
    roofline,
)
from tests.handmade import Sketch, chain
from tests.strategies import sketches

# 10^9 operations per second in matrix products, 10^8 in others, 10^6 bytes per second.
SLOW = Device("slow", "Slow", {"float32": 1e9, "tf32": 4e9}, {"float32": 1e8}, 1e6)

modes = pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])


def timed(
    graph: Graph,
    on: Device = SLOW,
    *,
    batch: int = 1,
    dtype: str = "float32",
    training: bool = False,
    **options: Any,
) -> Roofline:
    """Return the times of a graph."""
    work = costs(graph, batch=batch, dtype=dtype, training=training)
    return roofline(graph, work, on, **options)


# ---- by hand ---------------------------------------------------------------------


def test_the_times_of_a_linear_layer() -> None:
    graph = flatten(chain((20,), ("linear", {"width": 10})))
    (layer,) = timed(graph, batch=4).layers
    assert layer is not None
    # 4 x 10 x 20 MACs and 4 x 10 sums of a bias.
    assert layer.compute_seconds == pytest.approx(1600 / 1e9 + 40 / 1e8)
    # 4 x 20 inputs, 210 parameters, 4 x 10 outputs, 4 bytes each.
    assert layer.memory_seconds == pytest.approx(1320 / 1e6)
    assert layer.seconds == layer.memory_seconds and layer.bound == "memory"


def test_the_times_of_a_linear_layer_in_training() -> None:
    graph = flatten(chain((20,), ("linear", {"width": 10}), ("linear", {"width": 5})))
    first, second = timed(graph, batch=4, training=True).layers
    assert first is not None and second is not None
    # The first layer needs no gradient of its input: backward, as many MACs as forward;
    # as bytes, the output's gradient, the input and the gradients of 210 parameters.
    assert first.compute_seconds == pytest.approx(2 * (1600 / 1e9 + 40 / 1e8))
    assert first.memory_seconds == pytest.approx((1320 + 4 * (40 + 80 + 210)) / 1e6)
    # The second layer needs one: 200 MACs, and 400 backward; 4 x (10 + 5) and 55
    # numbers forward; backward 4 x 5 of the output's gradient, 4 x 10 of the input, 55
    # parameters, and 55 and 4 x 10 gradients.
    assert second.compute_seconds == pytest.approx(1200 / 1e9 + 40 / 1e8)
    forward, backward = 4 * (60 + 55), 4 * (20 + 40 + 55 + 55 + 40)
    assert second.memory_seconds == pytest.approx((forward + backward) / 1e6)


def test_a_relu_moves_three_maps_backward() -> None:
    sketch = Sketch((4, 6, 6))
    sketch.add("conv", width=4, kernel=(1, 1), bias=False)
    sketch.add("relu")
    layer = timed(flatten(sketch.network()), batch=2, training=True).layers[1]
    assert layer is not None
    size = 4 * 2 * 4 * 6 * 6
    # Forward it reads one and writes one; backward it reads the output's gradient and
    # the output, and writes the input's gradient.
    assert layer.memory_seconds == pytest.approx(5 * size / 1e6)
    assert layer.compute_seconds == pytest.approx(2 * (size / 4) / 1e8)


def test_a_view_takes_no_time() -> None:
    graph = flatten(chain((4, 6, 6), "relu", "flatten"))
    for training in (False, True):
        last = timed(graph, training=training, launch=1.0).layers[-1]
        assert last is not None and last.seconds == 0 and last.bound is None


def test_a_sum_passes_its_gradient_on_and_a_concatenation_parts_of_it() -> None:
    sketch = Sketch((4, 6, 6))
    conv = sketch.add("conv", width=4, kernel=(1, 1), bias=False)
    joined = sketch.add("add", conv, 0)
    sketch.add("concat", joined, conv)
    graph = flatten(sketch.network())
    for only, both in zip(
        timed(graph).layers[1:], timed(graph, training=True).layers[1:], strict=True
    ):
        assert only == both


def test_batch_norm_moves_more_in_training_than_in_inference() -> None:
    graph = flatten(chain((4, 6, 6), "bn"))
    only, both = timed(graph), timed(graph, training=True)
    assert both.seconds > 2 * only.seconds


# ---- ridge and launch ------------------------------------------------------------

sizes = st.integers(1, 10**9)
powers = st.integers(0, 40).map(lambda n: 2.0**n)


@given(
    macs=st.integers(1, 10**9), moved=st.integers(1, 10**9), rate=powers, band=powers
)
def test_a_layer_is_bound_by_compute_from_the_ridge_on(
    macs: int, moved: int, rate: float, band: float
) -> None:
    time = pass_time(macs, 0, moved, Rates(rate, 1.0, band))
    # Williams et al. 2009, figure 1a: the roof's two parts meet at peak / bandwidth.
    expected = "compute" if 2 * macs * band >= moved * rate else "memory"
    assert time.bound == expected
    assert 2 * macs / time.seconds <= rate * (1 + 1e-12)
    assert moved / time.seconds <= band * (1 + 1e-12)


def test_a_batch_takes_a_linear_layer_over_the_ridge() -> None:
    graph = flatten(chain((1024,), ("linear", {"width": 1024, "bias": False})))
    on = Device("d", "D", {"float32": 100e9}, {"float32": 100e9}, 1e9)
    assert timed(graph, on).ridge == 100
    # 2 x 1024^2 x batch operations on 4 x (1024^2 + 2 x 1024 x batch) bytes: 100 per
    # byte if batch / (2 + 4 x batch / 1024) is 100, i.e. at 200 / (1 - 400 / 1024).
    assert timed(graph, on, batch=328).layers[0].bound == "memory"  # type: ignore[union-attr]
    assert timed(graph, on, batch=329).layers[0].bound == "compute"  # type: ignore[union-attr]


def test_a_launch_is_the_least_that_a_kernel_takes() -> None:
    graph = flatten(chain((20,), ("linear", {"width": 10}), "relu"))
    free = timed(graph)
    some = timed(graph, launch=5e-4)
    for before, after in zip(free.layers, some.layers, strict=True):
        assert before is not None and after is not None
        assert after.seconds == max(before.seconds, 5e-4)
    assert [layer and layer.bound for layer in some.layers] == ["memory", "launch"]
    assert timed(graph, launch=1.0, training=True).seconds == 4.0
    own = SLOW._replace(launch_seconds=0.5)
    assert timed(graph, own).seconds == 1.0
    assert timed(graph, own, launch=0.0).seconds == free.seconds
    with pytest.raises(ValueError, match="launch"):
        timed(graph, launch=-1.0)


def test_only_convolutions_round_to_tf32() -> None:
    sketch = Sketch((64, 8, 8))
    sketch.add("conv", width=64, kernel=(3, 3), bias=False)
    sketch.add("flatten")
    sketch.add("linear", width=8, bias=False)
    graph = flatten(sketch.network())
    fast, exact = timed(graph), timed(graph, tf32=False)
    conv, _, linear = zip(fast.layers, exact.layers, strict=True)
    assert conv[0] and conv[1] and linear[0] and linear[1]
    assert 4 * conv[0].compute_seconds == pytest.approx(conv[1].compute_seconds)
    assert linear[0] == linear[1]
    assert fast.tf32 and not exact.tf32
    assert not timed(graph, device("v100-sxm2")).tf32
    assert not timed(graph, device("a10"), dtype="bfloat16").tf32


# ---- properties ------------------------------------------------------------------


def drawn(sketch: Sketch) -> Graph:
    return flatten(sketch.network())


@modes
@settings(max_examples=25, deadline=None)
@given(sketch=sketches())
def test_times_of_any_network(training: bool, sketch: Sketch) -> None:
    graph = drawn(sketch)
    one = timed(graph, training=training)
    rows = [layer.seconds for layer in one.layers if layer]
    assert one.seconds == pytest.approx(math.fsum(rows))
    assert sum(one.bound_seconds(b) for b in BOUNDS) == pytest.approx(one.seconds)
    for field in ("matrix", "vector"):
        rates = {name: 3 * rate for name, rate in getattr(SLOW, field).items()}
        faster = timed(graph, SLOW._replace(**{field: rates}), training=training)
        assert faster.seconds <= one.seconds
    wider = SLOW._replace(bandwidth=3 * SLOW.bandwidth)
    assert timed(graph, wider, training=training).seconds <= one.seconds
    more = timed(graph, batch=2, training=training)
    assert one.seconds <= more.seconds <= 2 * one.seconds * (1 + 1e-12)
    assert timed(graph, training=True).seconds >= timed(graph).seconds


@settings(max_examples=25, deadline=None)
@given(sketch=sketches(), batch=st.integers(1, 4))
def test_times_are_those_of_all_operations_and_bytes(
    sketch: Sketch, batch: int
) -> None:
    graph = drawn(sketch)
    plain = SLOW._replace(matrix={"float32": 1e9})
    whole = costs(graph, batch=batch).whole
    layers = [layer for layer in timed(graph, plain, batch=batch).layers if layer]
    moved = math.fsum(layer.memory_seconds for layer in layers) * 1e6
    assert moved == pytest.approx(whole.traffic.bytes)
    views = [node for node in graph.run(training=False) if node.op.aliases(False)]
    if not any(node.op.elementwise(node.input_shapes, node.shape) for node in views):
        computed = math.fsum(layer.compute_seconds for layer in layers)
        macs = batch * whole.cost.macs
        others = whole.batch_flops - 2 * macs
        assert computed == pytest.approx(2 * macs / 1e9 + others / 1e8)


@modes
def test_totals_are_the_sums_of_the_rows(training: bool) -> None:
    graph = flatten(archdsl.load("googlenet", symbolic=False))
    found = timed(graph, device("t4"), batch=8, training=training)
    facts = found.as_dict()
    rows = [layer.as_dict() for layer in found.layers if layer]
    assert facts["seconds"] == sum(row["seconds"] for row in rows)
    for bound, seconds in facts["bound_seconds"].items():
        assert seconds == sum(r["seconds"] for r in rows if r["bound"] == bound)
    assert facts["samples_per_second"] == 8 / facts["seconds"]
    heads = [node.training for node in graph.nodes]
    assert any(heads)
    missing = [layer is None for layer in found.layers]
    assert missing == ([False] * len(heads) if training else heads)


def test_half_the_bits_are_no_slower() -> None:
    graph = flatten(archdsl.load("resnet50", symbolic=False))
    for found in devices().values():
        if "float16" in found.matrix:
            half = timed(graph, found, batch=16, dtype="float16")
            assert half.seconds < timed(graph, found, batch=16).seconds


# ---- the table -------------------------------------------------------------------

# Units, operations per unit and cycle, and 10^9 cycles per second, from the vendors'
# descriptions of the chips. The rates in data sheets are these products, rounded.
CHIPS = [
    ("h100-sxm", "float16", 132 * 4, 2 * 512, 1.83),
    ("h100-sxm", "float32", 132 * 128, 2, 1.98),
    ("a100-sxm-40gb", "bfloat16", 108 * 4, 2 * 256, 1.41),
    ("a100-sxm-80gb", "tf32", 108 * 4, 2 * 128, 1.41),
    ("a100-sxm-80gb", "float32", 108 * 64, 2, 1.41),
    ("v100-sxm2", "float16", 80 * 8, 2 * 64, 1.53),
    ("v100-sxm2", "float32", 80 * 64, 2, 1.53),
    ("t4", "float16", 40 * 8, 2 * 64, 1.59),
    ("t4", "float32", 40 * 64, 2, 1.59),
    ("a10", "bfloat16", 72 * 4, 2 * 128, 1.695),
    ("a10", "float32", 72 * 128, 2, 1.695),
    ("l4", "float16", 58 * 4, 2 * 128, 2.04),
    ("l4", "float32", 58 * 128, 2, 2.04),
    ("rtx-3090", "float16", 82 * 4, 2 * 64, 1.695),
    ("rtx-3090", "float32", 82 * 128, 2, 1.695),
    ("rtx-4090", "bfloat16", 128 * 4, 2 * 64, 2.52),
    ("rtx-4090", "float32", 128 * 128, 2, 2.52),
    ("jetson-agx-orin", "float16", 16 * 4, 2 * 256, 1.3),
    ("jetson-agx-orin", "float32", 16 * 128, 2, 1.3),
    ("mi300x", "float16", 304, 2048, 2.1),
    ("mi300x", "float32", 304, 256, 2.1),
    ("m1-max", "float32", 32 * 128, 2, 1.296),
    ("epyc-7763", "float32", 64, 32, 2.45),
]

# Width of the bus in bits, and 10^9 bits per second on each line.
BUSES = [
    ("a100-sxm-40gb", 5120, 2.43),
    ("a100-sxm-80gb", 5120, 3.186),
    ("v100-sxm2", 4096, 1.75),
    ("t4", 256, 10),
    ("a10", 384, 12.5),
    ("l4", 192, 12.5),
    ("rtx-3090", 384, 19.5),
    ("rtx-4090", 384, 21),
    ("jetson-agx-orin", 256, 6.4),
    ("mi300x", 8192, 5.2),
    ("m1-max", 512, 6.4),
    ("epyc-7763", 8 * 64, 3.2),
]


@pytest.mark.parametrize(("name", "dtype", "units", "each", "clock"), CHIPS)
def test_rates_follow_from_units_and_clock(
    name: str, dtype: str, units: int, each: int, clock: float
) -> None:
    rate = device(name).matrix[dtype]
    assert rate == pytest.approx(units * each * clock * 1e9, rel=0.025)


@pytest.mark.parametrize(("name", "bits", "speed"), BUSES)
def test_bandwidths_follow_from_the_bus(name: str, bits: int, speed: float) -> None:
    assert device(name).bandwidth == pytest.approx(bits * speed / 8 * 1e9, rel=0.025)


@pytest.mark.parametrize("name", devices())
def test_every_device_is_complete(name: str) -> None:
    found = device(name)
    assert found.title and found.source and found.name == name
    assert set(found.matrix) <= set(FORMATS) and "float32" in found.matrix
    assert found.vector_rate("float16") == found.vector["float32"]
    assert "float64" in found.vector or "float64" not in found.matrix
    ordered = [found.matrix[f] for f in FORMATS if f in found.matrix]
    assert ordered == sorted(ordered)
    assert found.launch_seconds == 0  # launching is a cost of the host, not the device


def test_a_device_is_found_whatever_the_case() -> None:
    assert device("RTX 4090") is device("rtx_4090") is devices()["rtx-4090"]


@pytest.mark.parametrize(
    ("name", "help"),
    [
        ("a100", "did you mean `a100-sxm-40gb` or `a100-sxm-80gb`?"),
        ("rtx-409", "did you mean `rtx-4090`?"),
        ("h100sxm", "did you mean `h100-sxm`?"),
        ("", "known are h100-sxm, "),
        ("abacus", "known are h100-sxm, "),
    ],
)
def test_an_unknown_device(name: str, help: str) -> None:
    with pytest.raises(DeviceError) as error:
        device(name)
    assert f"there is no device `{name}`; {help}" in str(error.value)


def test_a_dtype_that_the_device_does_not_have() -> None:
    graph = flatten(chain((4, 6, 6), "relu"))
    with pytest.raises(DeviceError, match="t4 has no rate for bfloat16, only for floa"):
        timed(graph, device("t4"), dtype="bfloat16")
    with pytest.raises(DeviceError, match="l4 has no rate for float64"):
        timed(graph, device("l4"), dtype="float64")


def test_the_command_that_lists_devices(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--devices"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["name", "float64", "float32", "tf32"]
    (found,) = [line.split() for line in lines if line.startswith("v100-sxm2")]
    assert found[1:9] == ["7.8", "15.7", "-", "-", "125", "15.7", "900", "16"]
    assert main(["list", "--devices", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in facts["devices"]] == list(devices())
    assert facts["devices"][0]["matrix"]["tf32"] == 494.7e12


# ---- files -----------------------------------------------------------------------

MINE = """
[my-card]
matrix_tflops = { float32 = 2, bfloat16 = 8 }
vector_tflops = { float32 = 1 }
bandwidth_gbs = 100
launch_us = 5

[T4]
title = "mine"
matrix_tflops = { float32 = 1 }
vector_tflops = { float32 = 1 }
bandwidth_gbs = 1
memory_gb = 2
"""


def test_a_file_adds_devices_and_takes_the_place_of_shipped_ones(
    tmp_path: Path,
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MINE)
    table = devices(path)
    mine = device("my-card", table)
    assert mine.title == "my-card" and mine.memory_bytes is None
    assert mine.matrix == {"float32": 2e12, "bfloat16": 8e12}
    assert mine.bandwidth == 100e9 and mine.launch_seconds == pytest.approx(5e-6)
    assert device("t4", table).title == "mine"
    assert device("t4", table).memory_bytes == 2_000_000_000
    assert table["h100-sxm"] is device("h100-sxm")
    assert device("t4").title == "NVIDIA T4"


RIGHT = """
[card]
matrix_tflops = { float32 = 2 }
vector_tflops = { float32 = 1 }
bandwidth_gbs = 100
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("bandwidth_gbs = 100", "", "[card]: `bandwidth_gbs` is missing"),
        ("matrix_tflops = { float32 = 2 }", "", "[card]: `matrix_tflops` is missing"),
        ("bandwidth_gbs", "bandwith_gbs", "did you mean `bandwidth_gbs`?"),
        ("= 100", "= -1", "`bandwidth_gbs` is a number above 0, not -1"),
        ("= 100", "= 0", "`bandwidth_gbs` is a number above 0, not 0"),
        ("= 100", "= inf", "`bandwidth_gbs` is a number above 0, not inf"),
        ("= 100", "= true", "`bandwidth_gbs` is a number above 0, not True"),
        ("= 100", '= "1"', "`bandwidth_gbs` is a number above 0, not '1'"),
        ("float32 = 2", "float32 = nan", "`matrix_tflops.float32` is a number above 0"),
        ("float32 = 2", "flaot32 = 2", "matrix_tflops: there is no `flaot32`; did you"),
        (
            "{ float32 = 1 }",
            "{ float64 = 1 }",
            "`vector_tflops` needs a rate for float32",
        ),
        ("float32 = 2", "float64 = 2", "`vector_tflops` needs a rate for float64"),
        ("{ float32 = 1 }", "{ tf32 = 1 }", "vector_tflops: there is no `tf32`"),
        ("{ float32 = 1 }", "1", "`vector_tflops` has a rate for each format"),
        ("[card]", "[card]\ntitle = 3", "`title` must be a string"),
        ("[card]\n", "", "`bandwidth_gbs` is outside a device"),
        ("[card]", "[card", "mine.toml: Expected ']'"),
        (RIGHT, "", "there is no device in it"),
    ],
)
def test_a_wrong_file(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in RIGHT
    path = tmp_path / "mine.toml"
    path.write_text(RIGHT.replace(old, new, 1))
    with pytest.raises(DeviceError) as error:
        devices(path)
    assert said in str(error.value) and str(path) in str(error.value)


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(RIGHT.replace("= 100", "= 0").replace("[card]", "[card]\nx = 1"))
    with pytest.raises(DeviceError) as error:
        devices(path)
    assert len(str(error.value).splitlines()) == 2


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="No such file"):
        devices(tmp_path / "none.toml")
    (tmp_path / "latin").write_bytes(b"\xe9 = 1")
    with pytest.raises(DeviceError, match="not UTF-8"):
        devices(tmp_path / "latin")


# ---- the view --------------------------------------------------------------------


def facts_of(graph: Graph, found: Roofline) -> dict[str, Any]:
    layers = [
        {"name": node.step.path, "time": layer and layer.as_dict()}
        for node, layer in zip(graph.nodes, found.layers, strict=True)
    ]
    return {"time": found.as_dict(), "layers": layers}


def test_the_view_of_a_network() -> None:
    graph = flatten(chain((20,), ("linear", {"width": 10}), "identity"))
    facts = facts_of(graph, timed(graph, batch=4))
    assert view.cells(facts["layers"][0]) == ("2.00 us", "1.32 ms", "1.32 ms", "memory")
    assert view.cells(facts["layers"][1]) == ("-", "-", "-", "-")
    assert view.group(facts["layers"])[2:] == ("1.32 ms", "memory 100 %")
    rows = {name: (figure, note) for name, figure, note in view.totals(facts)}
    assert rows["time at least"][0] == "1.32 ms"
    assert rows["throughput at most"][0] == "3,030"  # 4 / 0.00132
    assert rows["  bound by memory"][0] == "100 %"
    assert "1 layer: linear2" in rows["  bound by memory"][1]
    assert rows["ridge"][0] == "4,000.0"


def test_the_view_without_a_device() -> None:
    assert view.cells({"name": "conv1"}) == ("-", "-", "-", "-")
    assert view.group([{"name": "conv1", "time": None}]) == ("-", "-", "-", "-")
    assert view.totals({"layers": []}) == [
        ("time", "-", "choose a device with `--device NAME`")
    ]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0.00 us"),
        (2e-8, "0.0200 us"),
        (15.26e-6, "15.3 us"),
        (1e-3, "1.00 ms"),
        (0.9812, "981 ms"),
        (1.5, "1.50 s"),
        (12345, "12,345 s"),
    ],
)
def test_times_are_shown_to_three_digits(seconds: float, shown: str) -> None:
    assert view.show_seconds(seconds) == shown
