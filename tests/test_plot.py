"""Charts: the drawn values, read from the figure, against independent figures."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations
from math import prod
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

import archdsl
from archdsl.backends.plot import CHARTS, Plot, UnknownFormat, plot_runs, style
from archdsl.backends.plot.labels import Rectangle, crosses
from archdsl.backends.plot.memory import moment_positions
from archdsl.backends.training.folder import COLUMNS, read_metrics, write_metrics
from archdsl.cli import main
from archdsl.ir import Network
from archdsl.passes.devices import device
from archdsl.resources import shipped_presets
from tests import presets

FIVE = ("alexnet", "vgg16", "googlenet", "resnet50", "densenet121")


def texts(figure: Figure) -> Iterator[tuple[str, Rectangle]]:
    """Yield the visible texts, with the box of each."""
    figure.draw_without_rendering()
    # matplotlib keeps ticks beyond the ends of an axis, but does not draw them.
    undrawn = {
        id(label)
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        for label in (tick.label1, tick.label2)
        if not _is_within(tick.get_loc(), axis.get_view_interval())
    }
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        seen = text.get_visible() and text.get_text().strip()
        if seen and id(text) not in undrawn:
            # The box of an annotation, without its line.
            yield text.get_text(), Rectangle(*Text.get_window_extent(text).extents)


def _is_within(place: float, ends: Sequence[float]) -> bool:
    return min(ends) <= place <= max(ends)


def assert_clear(figure: Figure) -> None:
    """Assert that no texts overlap, and that all are on the page."""
    page = Rectangle(-1, -1, figure.bbox.width + 1, figure.bbox.height + 1)
    found = list(texts(figure))
    for text, box in found:
        assert box.within(page), text
    for (one, box), (other, its) in combinations(found, 2):
        assert not box.meets(its), (one, other)


def lines_of(figure: Figure) -> dict[str, list[tuple[float, float]]]:
    """Return the points of the lines with a name."""
    return {
        str(line.get_label()): [tuple(map(float, p)) for p in line.get_xydata()]
        for axes in figure.axes
        for line in axes.lines
        if not str(line.get_label()).startswith("_")
    }


# ---- every chart ---------------------------------------------------------------------


def drawn(show: str) -> Plot:
    if show == "roofline":
        return archdsl.plot(["resnet50"], show=show, batch=32, device="a100-sxm-40gb")
    if show == "gradients":
        small = [archdsl.load(n, input="3x8x8") for n in ("plain20", "residual20")]
        return archdsl.plot(small, show=show, runs=2)
    if show == "paths":
        return archdsl.plot(["plain56", "residual56", "densenet121"], show=show)
    return archdsl.plot(FIVE, show=show, batch=8)


@pytest.fixture(scope="module", params=CHARTS)
def chart(request: pytest.FixtureRequest) -> Plot:
    return drawn(request.param)


def test_no_text_covers_another(chart: Plot) -> None:
    assert_clear(chart.figure())


@pytest.mark.parametrize("show", ["costs", "fields", "memory", "paths"])
@pytest.mark.parametrize("spec", ["vgg19", "dcgan"])
def test_single_networks_are_clear(show: str, spec: str) -> None:
    assert_clear(archdsl.plot(spec, show=show, optimizer="adam").figure())


def test_a_chart_is_the_same_in_every_run(chart: Plot) -> None:
    svg = chart.encode()
    if chart.show in ("compare", "fields"):
        assert svg == drawn(chart.show).encode()
    assert b"dc:date" not in svg
    ElementTree.fromstring(svg)
    assert chart._repr_svg_() == svg.decode()
    assert svg.decode().count("<text") > 5  # not outlines


def test_what_is_drawn_is_plain_data(chart: Plot) -> None:
    data = json.loads(json.dumps(chart.as_dict()))
    assert data["show"] == chart.show
    assert all(one["name"] in repr(chart) for one in data["networks"])


def test_lines_and_bars_stay_apart_in_grey() -> None:
    looks = [style.line(n) for n in range(20)]
    assert len({(n["linestyle"], n["marker"]) for n in looks}) == 20
    hatches = [style.bar(n)["hatch"] for n in range(6)]
    assert len(set(hatches)) == 6


def test_names_are_written_as_they_are() -> None:
    network = archdsl.load("alexnet")
    figure = archdsl.plot([network, network], names=["a_$x$_b", "c{d}"]).figure()
    found = {text for text, _ in texts(figure)}
    assert {"a_$x$_b", "c{d}"} <= found
    assert b">a_$x$_b<" in archdsl.plot(network, names=["a_$x$_b"]).encode()


# ---- compare -------------------------------------------------------------------------


def test_every_shipped_network_is_named_and_no_name_covers_another() -> None:
    names = sorted(shipped_presets())
    networks = [presets.network(name, symbolic=False) for name in names]
    plot = archdsl.plot(networks, names=names, show="compare")
    figure = plot.figure()
    assert_clear(figure)
    (axes,) = figure.axes
    notes = {note.get_text(): note for note in axes.texts}
    assert sorted(notes) == names
    for name, network in zip(names, networks, strict=True):
        facts = archdsl.analyze(network)
        assert notes[name].xy == (facts.macs, facts.params), name


def test_points_are_those_of_the_literature() -> None:
    figure = archdsl.plot(["alexnet", "vgg19", "resnet50"]).figure()
    points = {p for line in figure.axes[0].lines for p in map(tuple, line.get_xydata())}
    # torchvision's parameters, and MACs from its documentation.
    assert points == {
        (714_188_480, 61_100_840),
        (19_632_062_464, 143_667_240),
        (4_089_184_256, 25_557_032),
    }


def test_lines_and_boxes_meet_where_they_do() -> None:
    box = Rectangle(2, 2, 4, 4)
    assert crosses((0, 0, 6, 6), box) and crosses((3, 0, 3, 9), box)
    assert not crosses((0, 0, 1, 1), box) and not crosses((5, 0, 5, 9), box)
    assert not crosses((0, 5, 9, 5), box) and crosses((3, 3, 9, 9), box)


# ---- costs ---------------------------------------------------------------------------


def bars_of(figure: Figure) -> list[dict[str, float]]:
    """Return the lengths of the bars of each panel, by their rows."""
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    found = []
    for axes in figure.axes:
        lengths = {rows[round(b.get_y() + b.get_height() / 2)]: b for b in axes.patches}
        found.append({row: bar.get_width() for row, bar in lengths.items()})
    return found


def test_costs_of_vgg_by_hand() -> None:
    params: Counter[str] = Counter()
    macs: Counter[str] = Counter()
    before, side = 3, 224
    for halvings, (width, convs) in enumerate(
        ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
    ):
        for _ in range(convs):
            weights = before * width * 9
            params[f"1/{2**halvings}"] += weights + width
            macs[f"1/{2**halvings}"] += weights * side * side
            before = width
        side //= 2
    for inputs, outputs in ((512 * 7 * 7, 4096), (4096, 4096), (4096, 1000)):
        params["vectors"] += inputs * outputs + outputs
        macs["vectors"] += inputs * outputs
    assert bars_of(archdsl.plot("vgg16").figure()) == [params, macs]


def test_heads_cost_parameters_alone() -> None:
    (one,) = archdsl.plot("googlenet").data
    heads = next(n for n in one["stages"] if n["stage"] == "training only")
    assert (heads["params"], heads["macs"]) == (13_004_888 - 6_624_904, 0)
    facts = archdsl.analyze("googlenet")
    assert sum(n["params"] for n in one["stages"]) == facts.params
    assert sum(n["macs"] for n in one["stages"]) == facts.macs


def test_generators_enlarge() -> None:
    (one,) = archdsl.plot("dcgan").data
    stages = [n["stage"] for n in one["stages"]]
    assert stages == ["64/1", "32/1", "16/1", "8/1", "4/1"]


# ---- fields --------------------------------------------------------------------------


def fields_by_hand(network: Network) -> list[tuple[int, int]]:
    """Return depth and largest field of a chain (Dumoulin & Visin 2016, section 4)."""
    found, field, jump, depth = {0: 1}, 1, 1, 0
    for step in network.steps():
        if step.op.word not in ("conv", "maxpool"):
            continue
        field += (step.op.kernel[0] - 1) * jump  # type: ignore[attr-defined]
        jump *= step.op.stride[0]  # type: ignore[attr-defined]
        depth += step.op.word == "conv"
        found[depth] = field
    return sorted(found.items())


def test_fields_of_chains_by_hand() -> None:
    found = lines_of(archdsl.plot(["alexnet", "vgg19"], show="fields").figure())
    for name in ("alexnet", "vgg19"):
        wanted = fields_by_hand(archdsl.load(name, symbolic=False))
        # After the last pool, the adaptive one does not enlarge the field.
        assert found[name] == wanted


def test_fields_of_a_residual_network() -> None:
    found = lines_of(archdsl.plot("resnet50", show="fields").figure())
    assert found["resnet50"][-1] == (49, 427)  # before the linear layer
    # Along all shortcuts: 7x7, then a 3x3 pool; 1x1 projections add nothing.
    assert found["resnet50, narrowest path"][-1] == (49, 11)


def test_gates_do_not_hide_the_local_field() -> None:
    (one,) = archdsl.plot("mobilenet_v3_large", show="fields").data
    sizes = [point["size"] for point in one["fields"]]
    assert sizes == sorted(sizes) and sizes[-1] > 224


# ---- memory --------------------------------------------------------------------------

ONE = "arch 1\nnetwork one {\n    input 3x4x4\n    conv 1x1 4 bias=false\n}\n"


def test_a_step_by_hand() -> None:
    # 48 numbers in, 64 out, 12 weights. Backward: the output's gradient, then that of
    # the weights. When the optimiser steps, the output's gradient is gone.
    network = archdsl.loads(ONE)
    (one,) = archdsl.plot(network, show="memory").data
    held = 12 + 48 + 64
    seen = [(n["phase"], n["layer"], n["bytes"]) for n in one["timeline"]]
    assert seen[:3] == [
        ("forward", "conv1", 4 * held),
        ("backward", "conv1", 4 * (held + 64)),
        ("backward", "conv1", 4 * (held + 64 + 12)),
    ]
    assert len(seen) == 4 and seen[3][:2] == ("step", "")
    assert seen[3][2] >= 4 * (held + 12)


@pytest.mark.parametrize("recompute", [False, True])
def test_the_curve_peaks_where_the_analysis_does(recompute: bool) -> None:
    options: dict[str, Any] = {"batch": 32, "optimizer": "adam", "recompute": recompute}
    figure = archdsl.plot("resnet50", show="memory", **options).figure()
    (name,) = [n for n in lines_of(figure) if n.startswith("resnet50")]
    peak = max(y for _, y in lines_of(figure)[name]) * 2**30
    memory = archdsl.analyze("resnet50", **options).memory
    assert peak == pytest.approx(memory.training_peak_bytes, rel=1e-12)
    assert [m.phase == "recompute" for m in memory.timeline].count(True) > 0 or (
        not recompute
    )


def test_a_longer_batch_takes_what_the_samples_take() -> None:
    one, two = (
        archdsl.analyze("alexnet", batch=batch).memory.timeline for batch in (1, 2)
    )
    more = [b.bytes - a.bytes for a, b in zip(one, two, strict=True)]
    # The input, 3 x 224 x 224 floats a sample, is there all the time.
    assert min(more) >= 4 * 3 * 224 * 224
    assert more[-1] < more[len(more) // 2]


def test_moments_are_drawn_in_order() -> None:
    (one,) = archdsl.plot("alexnet", show="memory").data
    places = moment_positions(one["timeline"])
    assert places == sorted(places) and places[-1] > 2
    forward = [p for p, n in zip(places, one["timeline"], strict=True) if p < 1]
    phases = [n["phase"] for n in one["timeline"][: len(forward)]]
    assert set(phases) == {"forward"}


# ---- paths ---------------------------------------------------------------------------


def product(factors: Sequence[dict[int, int]]) -> dict[int, int]:
    """Return the product of polynomials, each by its powers."""
    found = {0: 1}
    for factor in factors:
        sums: Counter[int] = Counter()
        for power, n in found.items():
            for more, m in factor.items():
                sums[power + more] += n * m
        found = sums
    return found


def test_path_lengths_by_hand() -> None:
    figure = archdsl.plot(["plain56", "residual56"], show="paths").figure()
    plain, residual = (
        {round(b.get_x() + b.get_width() / 2): b.get_height() for b in axes.patches}
        for axes in figure.axes
    )
    assert plain == {56: 100}
    # The first convolution and the linear layer; 25 units are passed or skipped; 2 have
    # a projection as their shortcut.
    counts = product([{2: 1}, *[{0: 1, 2: 1}] * 25, *[{1: 1, 2: 1}] * 2])
    assert sum(counts.values()) == 2**27
    assert residual == pytest.approx({k: 100 * n / 2**27 for k, n in counts.items()})


# ---- roofline ------------------------------------------------------------------------


def test_layers_lie_below_the_roof_and_one_by_hand() -> None:
    figure = archdsl.plot(
        "resnet50", show="roofline", batch=32, device="a100-sxm-40gb"
    ).figure()
    a100 = device("a100-sxm-40gb")
    points = {
        tuple(map(float, point))
        for axes in figure.axes
        for dots in axes.collections
        for point in dots.get_offsets()
    }
    rate = a100.matrix_rate("float32", tf32=True)
    for across, up in points:
        assert up <= min(rate, across * a100.bandwidth) * (1 + 1e-9)
    # conv1: 64 maps of 112x112 from 3 of 224x224, 7x7, without a bias.
    flops = 2 * 32 * 64 * 112 * 112 * 3 * 49
    moved = 4 * (32 * (3 * 224 * 224 + 64 * 112 * 112) + 64 * 3 * 49)
    wanted = flops / moved, flops / max(flops / rate, moved / a100.bandwidth)
    assert any(point == pytest.approx(wanted) for point in points)


# ---- gradients -----------------------------------------------------------------------


def test_the_median_is_drawn_and_projections_are_not() -> None:
    from archdsl.backends.torch.gradients import gradient_norms

    network = archdsl.load("residual20", input="3x8x8")
    figure = archdsl.plot(network, show="gradients", runs=3).figure()
    ((_, points),) = lines_of(figure).items()
    layers = [
        n for n in gradient_norms(network, seeds=range(3)).layers if not n.shortcut
    ]
    assert len(layers) == 20
    assert points == [(at, sorted(n.norms)[1]) for at, n in enumerate(layers, 1)]


# ---- the command ---------------------------------------------------------------------


ODD = """arch 1

network Plain {
    input 3x8x8
    relu
}

network Vector {
    input 12
    linear 4
}
"""


def test_networks_without_weights_or_maps_are_drawn() -> None:
    plain, vector = (archdsl.loads(ODD, preset=name) for name in ("Plain", "Vector"))
    for show in ("compare", "costs", "memory", "paths"):
        assert_clear(archdsl.plot([plain, vector], show=show).figure())


def test_nothing_is_drawn_below_zero() -> None:
    plain, vector = (archdsl.loads(ODD, preset=name) for name in ("Plain", "Vector"))
    for networks in ([plain], [plain, vector], [plain, "alexnet"]):
        (axes,) = archdsl.plot(networks, show="compare").figure().axes
        for low, high in (axes.get_xlim(), axes.get_ylim()):
            assert low == 0 and high >= 1
    for show in ("costs", "paths"):
        for axes in archdsl.plot(plain, show=show).figure().axes:
            low, high = axes.get_xlim()
            assert low == 0 and high >= 1


def test_fields_tell_what_is_missing() -> None:
    plain = archdsl.loads(ODD, preset="Plain")
    with pytest.raises(ValueError, match="has no convolutions that make maps"):
        archdsl.plot(plain, show="fields")


# ---- runs


def write_run(folder: Path, top: float, epochs: int, *, mixed: bool = False) -> Path:
    """Write the metrics of a run whose accuracy rises to a value."""
    folder.mkdir(parents=True)
    rows = []
    for epoch in range(1, epochs + 1):
        right = top * epoch / epochs
        row: dict[str, Any] = dict.fromkeys(COLUMNS)
        row.update(epoch=epoch, step=9 * epoch, lr=0.1, seconds=1.5, test_top5=1.0)
        row.update(train_loss=2 - right, test_loss=2.5 - right, test_top1=right)
        row.update(train_top1=None if mixed else right)
        rows.append(row)
    write_metrics(folder, rows)
    assert read_metrics(folder) == rows
    return folder


def test_runs_are_drawn_and_named_at_their_ends(tmp_path: Path) -> None:
    names = [f"a_run_with_a_long_name_{n}" for n in range(12)]
    runs = {
        name: write_run(tmp_path / name, 0.9 + n / 1000, 3 + n, mixed=n == 2)
        for n, name in enumerate(names)
    }
    found = plot_runs(runs)
    figure = found.figure()
    assert_clear(figure)
    assert {name for name, _ in texts(figure)} >= {*names}
    right = lines_of(figure)  # of the last panel, by name
    assert right[names[1]] == [
        (epoch, pytest.approx(100 * 0.901 * epoch / 4)) for epoch in range(1, 5)
    ]
    assert found.encode() == plot_runs(runs).encode()
    assert len({str(style.line(n)) for n in range(len(runs))}) == len(runs)


def test_the_command_draws_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one/run", "two/run"):
        write_run(Path("runs", name), 0.9, 2)
    both = ("runs/one/run", "runs/two/run")
    assert main(["plot", *both, "-o", "curves.svg"]) == 0
    # If names are equal, whole paths are shown.
    assert all(name in Path("curves.svg").read_text() for name in both)
    # A run without a finished epoch does not prevent drawing the others.
    early = Path("runs/early")
    early.mkdir()
    (early / "run.json").write_text("{}")
    assert main(["plot", *both, str(early), "-o", "same.svg"]) == 0
    assert "no epoch of the run in runs/early has ended" in capsys.readouterr().err
    assert Path("same.svg").read_bytes() == Path("curves.svg").read_bytes()
    write_run(Path("runs/three"), 0.9, 0)
    Path("runs/four").mkdir()
    Path("runs/four/metrics.csv").write_text("epoch,step\n1,2\n")
    good = Path("runs/one/run/metrics.csv").read_text()
    Path("runs/five").mkdir()
    Path("runs/five/metrics.csv").write_text(good.replace("0.1", "nan"))
    for arguments, code, said in (
        ([both[0], "vgg11"], 2, "vgg11 is not: draw them separately"),
        ([both[0], "--batch", "2"], 2, "--batch does not apply to runs"),
        (["vgg11", "--show", "runs"], 2, "draws folders of `archdsl train`"),
        ([both[0], "--show", "costs"], 2, "draws folders of `archdsl train`"),
        (["runs"], 1, "no such file"),
        (["runs/early"], 2, "no epoch of the run in runs/early has ended"),
        (["runs/three"], 2, "no epoch of the run in runs/three has ended"),
        (["runs/four"], 1, "holds no metrics of a run"),
        (["runs/five"], 1, "holds no metrics of a run"),
    ):
        assert (main(["plot", *arguments]), said) == (code, said)
        assert said in capsys.readouterr().err


# ---- the command


def test_the_command_writes_each_format(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for suffix, start in (("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")):
        path = tmp_path / f"plot.{suffix}"
        assert main(["plot", "alexnet", "-o", str(path)]) == 0
        assert path.read_bytes().startswith(start)
    assert capsys.readouterr().out == ""


def test_the_command_prints_what_would_be_drawn_without_matplotlib(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["plot", "plain20", "residual20", "--show", "paths", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["errors"]) == (1, [])
    assert [one["count"] for one in found["networks"]] == [1, 2**9]
    assert main(["plot", "plain20"]) == 3
    assert 'pip install "archdsl[plot]"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["alexnet", "-o", "a.gif"], 2, "known are pdf, png, svg"),
        (["alexnet", "-o", "a"], 2, "no format and no suffix"),
        (["alexnet", "--show", "roofline"], 2, "needs a --device"),
        (["alexnet", "--device", "t4"], 2, "needs a --device"),
        (["alexnet", "vgg", "nothing"], 1, "nothing"),
        (["NET:Vector", "--show", "fields"], 2, "no receptive fields"),
        (["NET:Plain", "--show", "gradients"], 2, "no weights"),
    ],
)
def test_the_command_refuses(
    arguments: list[str],
    code: int,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "net.arch"
    path.write_text(ODD, encoding="utf-8")
    found = main(["plot", arguments[0].replace("NET", str(path)), *arguments[1:]])
    printed = capsys.readouterr()
    assert (found, printed.out) == (code, "")
    assert said in printed.err


def test_the_functions_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="show must be one of"):
        archdsl.plot("alexnet", show="nothing")
    with pytest.raises(ValueError, match="2 names"):
        archdsl.plot("alexnet", names=["a", "b"])
    with pytest.raises(ValueError, match='`runs` is for show="gradients"'):
        archdsl.plot("alexnet", runs=2)
    with pytest.raises(ValueError, match="needs a network"):
        archdsl.plot([])
    with pytest.raises(ValueError, match="needs a device"):
        archdsl.plot("alexnet", show="roofline")
    with pytest.raises(UnknownFormat, match="did you mean"):
        archdsl.plot("alexnet").encode("svgg")
    assert prod(archdsl.plot("alexnet").figure().get_size_inches()) > 0
