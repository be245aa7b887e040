"""Sweeps: their figures, which points are kept, resuming, and output."""

from __future__ import annotations

import csv
import io
import itertools
import json
import multiprocessing
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import archdsl
from archdsl.backends.extras import MissingExtra
from archdsl.cli import main
from archdsl.cli.terminal import Meter, Progress
from archdsl.sweeps import (
    FIGURES,
    AxisError,
    ClusterError,
    Condition,
    ConditionError,
    Interrupted,
    JournalError,
    ObjectiveError,
    Sweep,
    TooMany,
    parse_axis,
    sweep,
)
from archdsl.sweeps import run as running
from archdsl.sweeps.front import front
from archdsl.sweeps.output import UnknownFormat, encode_rows, plot_points
from tests.timing import cpu_seconds

NET = """arch 1

block plain<width> {
    conv 3x3 width -> bn -> relu
}

block short<width> {
    residual { conv 3x3 width -> bn -> relu -> conv 3x3 -> bn } -> relu
}

network net<width = 8, count = 2, groups = 1, unit = plain, kernel = 3x3> {
    input 3x32x32
    stem: conv kernel width /2
    unit<width>  x(count)
    conv 3x3 groups=groups -> relu
    training output aux: globalavgpool -> linear 3
    globalavgpool
    head: linear 10
}

preset small = net<width = 4>
preset deep = net<count = 5>
"""
AXES = {
    "width": "4..12:4",
    "groups": "1,2,3",
    "unit": "plain,short",
    "kernel": "3x3,5x5",
    "input": "3x32x32,1x20x24,3x2x2",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.arch").write_text(NET, encoding="utf-8")
    return tmp_path


# ---- figures --------------------------------------------------------------------


def figure(analysis: archdsl.Analysis, name: str) -> int | None:
    """Return a figure as `archdsl analyze` reports it."""
    facts = analysis.as_dict()
    if name == "layers":
        return len(facts["layers"])
    if name == "local_field":
        field = facts["receptive_field"]
        return min(field["local"]) if field and field["local"] else None
    if name == "receptive_field":
        field = facts["receptive_field"]
        return min(field["size"]) if field else None
    if name == "training_peak_bytes":
        return analysis.memory.training_peak.at(analysis.memory.batch)
    found = facts[name] if name in facts else facts["memory"][name]
    assert isinstance(found, int)
    return found


def loop(axes: dict[str, Sequence[Any]], **setting: Any) -> Iterator[Any]:
    """Yield all figures, or the error's code, of each combination."""
    for values in itertools.product(*axes.values()):
        params = dict(zip(axes, values, strict=True))
        chosen = {key: params.pop(key) for key in ("input", "preset") if key in params}
        try:
            network = archdsl.load("net.arch", params=params, **chosen)
        except archdsl.SpecError as error:
            yield error.diagnostics[0].code
        else:
            analysis = archdsl.analyze(network, **setting)
            yield {name: figure(analysis, name) for name in FIGURES}


def test_figures_are_those_of_a_plain_loop(folder: Path) -> None:
    plain = {
        "width": (4, 8, 12),
        "groups": (1, 2, 3),
        "unit": ("plain", "short"),
        "kernel": ("3x3", "5x5"),
        "input": ("3x32x32", "1x20x24", "3x2x2"),
    }
    setting = {"batch": 3, "dtype": "bfloat16", "optimizer": "adam"}
    found = sweep("net.arch", AXES, columns=list(FIGURES), jobs=1, **setting)
    wanted = list(loop(plain, **setting))
    assert len(found.points) == found.total == len(wanted) == 108
    for point, expected in zip(found.points, wanted, strict=True):
        assert (point.error or point.figures) == expected
    assert {p.error for p in found.points} == {"", "A0304"}
    (refusal,) = found.refused
    assert refusal.points == sum(isinstance(row, str) for row in wanted)
    assert refusal.first.setting["groups"] == 3


# Maps with their channels last, and an op of unknown reach.
BOUNDS = """arch 1

op far { torch = "lib.Far" }

block last {
    permute last
    relu
    permute first
}

network net<order = last, more = identity> {
    input 3x8x8
    conv 3x3 8
    order
    more
    conv 1x1 2
}
"""
ALL_BOUNDS = {"training_peak_bytes": "at least", "receptive_field": "at most"}


def test_what_is_only_a_bound_is_said_to_be_one(folder: Path, run: Run) -> None:
    (folder / "bounds.arch").write_text(BOUNDS, encoding="utf-8")
    axes = {"order": ["last", "relu"], "more": ["identity", "far"]}
    book = folder / "book"
    for _ in range(2):  # the second time from the journal
        found = sweep("bounds.arch", axes, columns=[*ALL_BOUNDS, "macs"], journal=book)
        peak, field = ({name: ALL_BOUNDS[name]} for name in ALL_BOUNDS)
        assert [p.bounds for p in found.points] == [peak, peak | field, {}, field]
        assert all(len(p.figures) == 3 for p in found.points)
    names = [f"{name}{end}" for name in ALL_BOUNDS for end in ("", "_bound")]
    assert found.header == ("order", "more", *names, "macs")
    words = [
        [record[f"{name}_bound"] for name in ALL_BOUNDS] for record in found.records()
    ]
    assert words == [
        ["at least", None],
        ["at least", "at most"],
        [None, None],
        [None, "at most"],
    ]
    # Columns are only added where they say something.
    assert sweep("bounds.arch", {"order": ["relu"]}, columns=[*ALL_BOUNDS]).header == (
        "order",
        "training_peak_bytes",
        "receptive_field",
    )
    (folder / "net.arch").write_text(BOUNDS, encoding="utf-8")
    _, table, _ = run("order=last", "--columns", "training_peak_bytes")
    assert "training_peak_bytes_bound" in table and "at least" in table


def test_presets_vary_with_and_without_anything_else(folder: Path) -> None:
    presets = {"preset": ("small", "deep", "net")}
    found = sweep("net.arch", presets, columns=list(FIGURES))
    assert [p.figures for p in found.points] == list(loop(presets))
    both = {**presets, "groups": (1, 2)}
    found = sweep("net.arch", both, columns=list(FIGURES))
    assert [p.figures for p in found.points] == list(loop(both))
    fixed = sweep("net.arch:small", {"count": [2]}, params={"groups": 4})
    network = archdsl.load("net.arch:small", params={"groups": 4})
    assert fixed.points[0].figures["params"] == archdsl.analyze(network).params


def test_values_are_of_all_kinds_that_a_network_takes(folder: Path) -> None:
    text = NET.replace(
        "unit = plain", "unit = plain, on = true, rates = [1], act = 2.0"
    )
    used = "if on and act > 0.6 {\n        conv 1x1 (len(rates))\n    }\n"
    text = text.replace("    globalavgpool\n", f"    {used}    globalavgpool\n", 1)
    text = text.replace("unit<width>  x(count)", "unit").replace(", count = 2", "")
    text = text.partition("preset")[0].replace("<width>", "<width = 8>")
    text = text.replace("conv kernel width", "conv kernel width groups=1")
    (folder / "net.arch").write_text(text, encoding="utf-8")
    axes = {
        "rates": [(1, 2), [3, [4, 5]]],
        "on": "true,false",
        "act": "0.5..1.5:0.5",
        "kernel": "3x3,5x5",
        "unit": "plain,relu,conv<kernel = 1x1>,plain<width = 3>",
    }
    found = sweep("net.arch", axes)
    assert len(found.points) == 2 * 2 * 3 * 2 * 4 and not found.refused
    shown = found.points[0].setting
    assert shown == dict(rates="[1,2]", on=True, act=0.5, kernel="3x3", unit="plain")
    assert found.points[-1].setting["unit"] == "plain<width = 3>"
    assert found.points[-1].setting["rates"] == "[3,[4,5]]"


def test_only_the_figures_that_are_asked_about_are_computed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysed = []

    def analyze(*args: Any, **options: Any) -> Any:
        analysed.append(1)
        return archdsl.analyze(*args, **options)

    monkeypatch.setattr("archdsl.sweeps.figures.analyze", analyze)
    axes = {"width": "4..40:4"}
    sweep("net.arch", axes, where="macs > 1000", pareto="params,macs", sort="-layers")
    assert not analysed
    peak = "training_peak_bytes"
    found = sweep("net.arch", axes, where="width < 20", columns=[peak])
    assert len(analysed) == len(found.kept) == 4
    # A condition on figures of the graph needs them for all points.
    sweep("net.arch", axes, where=f"{peak} > 4", columns=[peak])
    assert len(analysed) == 14
    # Depth and receptive field need no graph, wherever they are used.
    fields = ["depth", "receptive_field"]
    sweep("net.arch", axes, where="depth > 4 and receptive_field > 3", columns=fields)
    found = sweep("net.arch", axes, where="depth > 99", columns=[peak, *fields])
    assert len(analysed) == 14 and not found.kept


@pytest.mark.parametrize("jobs", [1, None])
def test_thousands_of_variants_take_seconds(jobs: int | None) -> None:
    """The goal is two hundred variants of ResNet-50's size per second, on one core."""
    axes = {"classes": range(2, 102), "input": ["3x224x224", "3x192x160"]}
    found = sweep("resnet50", axes, jobs=jobs)
    assert len(found.points) == 200 and not found.refused
    # It took a tenth of this when it was written; other tests share the processor.
    assert cpu_seconds(lambda: sweep("resnet50", axes, jobs=jobs)) < 1.0


# ---- axes -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("width=32..128:32", [32, 64, 96, 128]),
        ("width=32..100:32", [32, 64, 96]),
        ("width=1..3", [1, 2, 3]),
        ("width=3..1", [3, 2, 1]),
        ("width=-1..1", [-1, 0, 1]),
        ("width=8..2:-3", [8, 5, 2]),
        ("width=1..3,7,2", [1, 2, 3, 7]),
        ("p=0.1..0.5:0.1", [0.1, 0.2, 0.3, 0.4, 0.5]),
        ("p=0..1:0.25", [0.0, 0.25, 0.5, 0.75, 1.0]),
        ("layers=[2,2],[3, 4]", ["[2,2]", "[3,4]"]),
        ("unit=a<x = [1, 2], y = 3>,b", ["a<x = [1,2],y = 3>", "b"]),
        ("kernel=3x3,5x7", ["3x3", "5x7"]),
        ("on=true,false,1", [True, False, 1]),
        ('name="a,b",c', ["a,b", "c"]),
        ("input=3x8x8,100", ["3x8x8", "100"]),
        ("p=-0.5,2", [-0.5, 2]),
    ],
)
def test_axes_are_ranges_and_lists(text: str, values: list[Any]) -> None:
    axis = parse_axis(text)
    assert [(type(v), v) for v in axis.shown] == [(type(v), v) for v in values]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("width", "`width` is not of the form name=values"),
        ("3x=1", "`3x=1` is not of the form name=values"),
        ("width=", "`width` has an empty value"),
        ("width=1,,2", "`width` has an empty value"),
        ("width=1..9:0", "width: steps of 0 do not lead from 1 to 9"),
        ("width=1..9:-1", "width: steps of -1 do not lead from 1 to 9"),
        ("width=0.5..2", "width: add a step: `0.5..2:0.1`"),
        ("width=[1,2", "width: this `[` is never closed"),
        ("width=1 2", "width: `1 2` is not an expression"),
    ],
)
def test_what_is_no_axis_is_refused(text: str, message: str) -> None:
    with pytest.raises(AxisError) as caught:
        parse_axis(text)
    assert str(caught.value) == message


def test_sweeps_without_end_are_refused(folder: Path) -> None:
    with pytest.raises(TooMany, match="more than 1,000,000 values"):
        parse_axis("width=1..2000000")
    axes = {"width": "1..9999", "count": "1..9", "groups": "1..999"}
    with pytest.raises(TooMany, match=r"89,901,009 points are .* --sample"):
        sweep("net.arch", axes)
    few = sweep("net.arch", axes, sample=5, seed=3)
    assert few.total == len(few.points) == 5
    again = sweep("net.arch", axes, sample=5, seed=3)
    assert [p.setting for p in again.points] == [p.setting for p in few.points]
    other = sweep("net.arch", axes, sample=5, seed=4)
    assert [p.setting for p in other.points] != [p.setting for p in few.points]
    assert sweep("net.arch", {"width": "4,8"}, sample=50).total == 2


@pytest.mark.parametrize(
    ("axes", "options", "error", "message"),
    [
        ({}, {}, AxisError, "nothing varies"),
        ({"width": []}, {}, AxisError, "`width` has no values"),
        ({"width": "4"}, {"params": {"width": 8}}, AxisError, "both vary and be fixed"),
        ({"input": "3x8x8"}, {"input": "3x8x8"}, AxisError, "both vary and be fixed"),
        ({"input": "3x8x8x8x8"}, {}, AxisError, "`3x8x8x8x8` is not a shape"),
        ({"width": [{}]}, {}, AxisError, "{} is not a value"),
        ({"widht": "4"}, {}, archdsl.SpecError, "A0603.*`widht`"),
        ({"preset": "small,deap"}, {}, archdsl.SpecError, "A0602.*`deap`"),
        ({"width": "4"}, {"where": "parms < 5M"}, ConditionError, "mean `params`"),
        ({"width": "4"}, {"pareto": "macs,depht"}, ObjectiveError, "mean `depth`"),
        ({"width": "4"}, {"pareto": "macs,macs"}, ObjectiveError, "given twice"),
        ({"width": "4"}, {"columns": ["x"]}, ObjectiveError, "`x` is neither a figure"),
    ],
)
def test_what_cannot_be_swept_is_said_at_once(
    folder: Path,
    axes: dict[str, Any],
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error) as caught:
        sweep("net.arch", axes, **options)
    assert re.search(message, str(caught.value), re.S)


# ---- conditions and fronts ------------------------------------------------------

VALUES = {
    "params": 5_000_000,
    "macs": 600_000_001,
    "depth": 18,
    "receptive_field": None,
    "width": 64,
    "unit": "bottleneck",
    "layers": "[2,2]",
    "on": True,
    "kernel": "3x3",
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("params < 5M", False),
        ("params <= 5M and macs > 600M", True),
        ("params == 5_000k or false", True),
        ("not params < 4.9M", True),
        ("macs / params > 120", True),
        ("macs < 1.5G", True),
        ("macs > 1T", False),
        ("width * 2 - 1 == 127", True),
        ("(width // 3) % 2 == 1 and width ** 2 >= 4K", True),
        ("-depth < -17", True),
        ("width in [32, 64]", True),
        ("unit == bottleneck", True),
        ('unit != "basic"', True),
        ("unit in [basic, bottleneck]", True),
        ("layers == [2, 2]", True),
        ("kernel == 3x3", True),
        ("on", True),
        ("depth > 10 if on else depth > 20", True),
        ("max(width, depth) == 64 and sqrt(width) == 8", True),
        ("receptive_field > 1", False),
        ("not receptive_field > 1", False),
        ("macs / (depth - 18) > 1", False),
        ("len(layers) == 2 and sum(layers) == 4 and max(layers) == 2", True),
        ("2 in layers and not 3 in layers and count(layers, 2) == 2", True),
        ("len([1, width]) == 2", True),
        ("log(8, 1) > 0", False),
        ("sqrt(-1) > 0 or true", False),
        ("5M ** 5M > 1", False),
    ],
)
def test_conditions_are_expressions_of_the_language(text: str, holds: bool) -> None:
    condition = Condition(text)
    condition.check(VALUES)
    assert condition.holds(VALUES) is holds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("params <", "`params <` is not a condition"),
        ("params < 5Q", "is not a condition"),
        ("", "is not a condition"),
        ("widht > 3", "`widht` is neither a figure nor an axis; did you mean `width`?"),
        ("sqr(width) > 1", "there is no function `sqr`; did you mean `sqrt`?"),
        ("width", "`width` is not true or false"),
        ("width and on", "`width` is 64, and must be true or false"),
        ("unit > 3", '`unit` is "bottleneck", and must be a number'),
        ("on + 1M > 3", "`on` is true, and must be a number"),
        ("[i for i in layers] == 3", "is not allowed in a condition"),
        ("().__class__", "is not a condition"),
    ],
)
def test_what_is_no_condition_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConditionError) as caught:
        condition = Condition(text)
        condition.check(VALUES)
        condition.holds(VALUES)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("params", "`params` is a number, and must be true or false, at column 1"),
        ("1", "`1` is a number, and must be true or false, at column 1"),
        ('"a" < params', '`"a"` is a text, and must be a number, at column 1'),
        ("params < 5M and not macs", "`macs` is a number, and .* at column 21"),
        (
            "5_000k < params + (1.5G < macs)",
            "`\\(1.5G < macs\\)` is true or false, and",
        ),
        ("params < " + "9" * 5000, "a number of 5,000 digits .* at column 10"),
        ("params < " + "9" * 5000 + ".5M", "a number of 5,002 digits .* at column 10"),
        ("width", "`width` is a number, and must be true or false"),
        ("unit > 3", "`unit` is a text, and must be a number"),
        ("3 in width", "`width` is a number, and must be a list, at column 6"),
        ("len(width) == 1", "`width` is a number, and must be a list, at column 5"),
        ("sqrt(widths) == 1", "`widths` is a list, and must be a number"),
        ("log(1, 2, 3) > 1", "`log.*` needs 1 to 2 arguments"),
        ("log(8, base = 2) == 3", "needs 1 to 2 arguments"),
        ("true if params else false", "`params` is a number, .* at column 9"),
        ("(params < 3", "is not a condition, at column 1"),
    ],
)
def test_a_condition_has_the_kinds_that_it_needs(where: str, message: str) -> None:
    """A condition is refused before anything is computed, with its place."""
    known = {"params": (0,), "macs": (0,), "width": (4, 8), "widths": ("[1]", "[2,3]")}
    with pytest.raises(ConditionError, match=message):
        Condition(where).check_kinds({**known, "unit": ("plain", "short")})


coordinates = st.integers(0, 6)


@given(
    st.integers(1, 4).flatmap(
        lambda n: st.lists(st.tuples(*[coordinates] * n), max_size=30)
    )
)
@settings(max_examples=200, deadline=None)
def test_the_front_is_what_brute_force_finds(points: list[tuple[int, ...]]) -> None:
    def dominated(point: tuple[int, ...]) -> bool:
        return any(
            other != point and all(a <= b for a, b in zip(other, point, strict=True))
            for other in points
        )

    wanted = [at for at, point in enumerate(points) if not dominated(point)]
    assert front(points) == wanted


def test_the_front_of_a_sweep_minimises_or_maximises(folder: Path) -> None:
    axes = {"width": "4..16:4", "unit": "plain,short", "count": "1..4"}
    for pareto, signs in (
        (["macs", "-depth"], (1, -1)),
        (["max:width", "macs"], (-1, 1)),
    ):
        found = sweep("net.arch", axes, pareto=pareto, where="params > 1k")
        names = [name.removeprefix("-").removeprefix("max:") for name in pareto]
        able = [p for p in found.points if p.figures["params"] > 1000]
        pairs = [
            tuple(s * p.values[n] for s, n in zip(signs, names, strict=True))
            for p in able
        ]
        wanted = {able[at].number for at in front(pairs)}
        assert {p.number for p in found.kept} == wanted
        first = [p.values[names[0]] * signs[0] for p in found.kept]
        assert first == sorted(first)


def test_points_are_sorted_and_cut(folder: Path) -> None:
    axes = {"width": "4..12:4", "unit": "short,plain"}
    found = sweep("net.arch", axes, sort="unit,-params", top=4)
    assert [(p.setting["unit"], p.setting["width"]) for p in found.kept] == [
        ("plain", 12),
        ("plain", 8),
        ("plain", 4),
        ("short", 12),
    ]


# ---- resuming -------------------------------------------------------------------


def written(found: Sweep) -> bytes:
    return encode_rows(found, "csv") + encode_rows(found, "json")


def test_a_run_goes_on_wherever_it_was_cut_off(folder: Path) -> None:
    options = {"where": "params < 20k", "pareto": "params,macs", "everything": True}
    whole = written(sweep("net.arch", AXES, **options))
    book = folder / "book"
    assert written(sweep("net.arch", AXES, journal=book, **options)) == whole
    full = book.read_bytes()
    random = Random(4)
    told: list[int] = []
    for length in [0, 1, len(full), *random.sample(range(len(full)), 12)]:
        book.write_bytes(full[:length])
        told.clear()
        found = sweep(
            "net.arch", AXES, journal=book, progress=lambda _: told.append, **options
        )
        assert written(found) == whole
        lines = full[:length].splitlines(keepends=True)[1:]
        kept = sum(len(json.loads(x)["rows"]) for x in lines if x.endswith(b"\n"))
        assert told[0] == kept and told[-1] == 108
        assert len(told) == 1 + -(-(108 - kept) // running.CHUNK)


@pytest.mark.parametrize(
    "text", ["my notes\n", "my notes", "{}\n", "[]\n", "\0\0", '{"fort', "\n"]
)
def test_a_file_that_is_no_journal_is_left_alone(folder: Path, text: str) -> None:
    """It may be someone else's file, and restarting would empty it."""
    book = folder / "book"
    book.write_text(text, encoding="utf-8")
    with pytest.raises(JournalError, match="cannot continue from"):
        sweep("net.arch", AXES, journal=book)
    assert book.read_text("utf-8") == text


@pytest.mark.parametrize(
    "entry",
    [
        *("{}", '{"at": 0}', '{"at": "0", "rows": []}', '{"at": 0, "rows": 3}'),
        *('{"at": 0, "rows": [[1]]}', '{"at": 0, "rows": [["a", "b"]]}'),
        *('{"at": 0, "rows": [null]}', '{"at": 0, "rows": [{}]}'),
    ],
)
def test_a_journal_with_rows_of_another_form_is_refused(
    folder: Path, entry: str
) -> None:
    book = folder / "book"
    sweep("net.arch", AXES, journal=book)
    header = book.read_text("utf-8").splitlines()[0]
    book.write_text(f"{header}\n{entry}\n", encoding="utf-8")
    with pytest.raises(
        JournalError, match="it is damaged, or was not written by a sweep"
    ):
        sweep("net.arch", AXES, journal=book)


def test_gaps_in_a_journal_are_filled(folder: Path) -> None:
    """With several processes, a later chunk may be finished first."""
    whole = written(sweep("net.arch", AXES))
    book = folder / "book"
    sweep("net.arch", AXES, journal=book)
    header, *chunks = book.read_bytes().splitlines(keepends=True)
    book.write_bytes(header + chunks[2] + chunks[0])
    assert written(sweep("net.arch", AXES, journal=book)) == whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("spec", "the spec, or a file that it imports, has changed"),
        ("import", "the spec, or a file that it imports, has changed"),
        ("axes", "it belongs to a sweep over other axes"),
        ("options", "it belongs to a sweep with other options"),
        ("sample", "it belongs to a sweep of other points"),
        ("version", "it was written by another version of archdsl"),
    ],
)
def test_a_journal_of_another_sweep_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: str, message: str
) -> None:
    (folder / "part.arch").write_text("arch 1\n\nblock part {\n    relu\n}\n")
    text = NET.replace("arch 1\n", 'arch 1\n\nimport part from "part.arch"\n')
    text = text.replace("globalavgpool\n", "part -> globalavgpool\n", 1)
    (folder / "net.arch").write_text(text)
    sweep("net.arch", {"width": "4,8"}, journal="book")
    before = Path("book").read_bytes()
    axes, options = {"width": "4,8"}, {}
    if change == "spec":
        (folder / "net.arch").write_text(text.replace("linear 10", "linear 11"))
    elif change == "import":
        (folder / "part.arch").write_text("arch 1\n\nblock part {\n    elu\n}\n")
    elif change == "axes":
        axes = {"width": "4,9"}
    elif change == "options":
        options = {"columns": ["depth"]}
    elif change == "sample":
        options = {"sample": 1}
    else:
        monkeypatch.setattr("archdsl.sweeps.__version__", "0.0")
    with pytest.raises(JournalError, match=message):
        sweep("net.arch", axes, journal="book", **options)
    assert Path("book").read_bytes() == before
    sweep("net.arch", axes, journal="book", restart=True, **options)


def test_two_runs_do_not_share_a_journal(folder: Path) -> None:
    def begin(total: int) -> Callable[[int], None]:
        with pytest.raises(JournalError, match="another run is writing"):
            sweep("net.arch", {"width": "4,8"}, journal="book")
        return lambda done: None

    def tell(total: int) -> Callable[[int], None]:
        return lambda done: begin(total)(done)

    sweep("net.arch", {"width": "4,8"}, journal="book", progress=tell)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_killed_command_goes_on(folder: Path, jobs: int) -> None:
    command = [sys.executable, "-m", "archdsl", "sweep", "net.arch", "--all"]
    command += [f"--jobs={jobs}", "width=1..40", "count=1..15", "--pareto=macs,-depth"]
    environment = {**os.environ, "PYTHONPATH": str(Path(archdsl.__file__).parents[1])}

    def start(name: str) -> subprocess.Popen[bytes]:
        out = subprocess.DEVNULL
        return subprocess.Popen([*command, "-o", name], stdout=out, env=environment)

    journal = folder / "killed.csv.journal"
    process = start("killed.csv")
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 2):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "killed.csv").exists()
    done = sum(
        len(json.loads(x)["rows"]) for x in journal.read_bytes().split(b"\n")[1:-1]
    )
    assert 0 < done < 600
    assert start("killed.csv").wait() == 0
    assert not journal.exists()
    found = sweep(
        "net.arch",
        {"width": "1..40", "count": "1..15"},
        pareto="macs,-depth",
        everything=True,
        jobs=1,
    )
    assert (folder / "killed.csv").read_bytes() == encode_rows(found, "csv")


# ---- processes and clusters -----------------------------------------------------


def test_the_number_of_processes_changes_nothing(folder: Path) -> None:
    one = sweep("net.arch", AXES, pareto="params,macs", everything=True, jobs=1)
    two = sweep("net.arch", AXES, pareto="params,macs", everything=True, jobs=2)
    assert written(one) == written(two)


def test_a_short_sweep_starts_no_process(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "available_cores", lambda: 4)
    monkeypatch.setattr(running, "_Processes", lambda jobs: lambda task, chunks: chunks)
    assert len(sweep("net.arch", {"width": "1..120"}).points) == 120


def test_what_a_lost_process_leaves_is_computed_here(folder: Path) -> None:
    whole = written(sweep("net.arch", AXES, jobs=1))

    def kill(total: int) -> Callable[[int], None]:
        def tell(done: int) -> None:
            children = multiprocessing.active_children()
            if children:
                children[0].kill()

        return tell

    assert written(sweep("net.arch", AXES, jobs=2, progress=kill)) == whole
    assert not multiprocessing.active_children()


def test_an_interrupt_keeps_what_was_done(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(total: int) -> Callable[[int], None]:
        def tell(done: int) -> None:
            if done >= 50:
                raise KeyboardInterrupt

        return tell

    for jobs in (1, 2):
        with pytest.raises(Interrupted) as caught:
            sweep("net.arch", {"width": "1..200"}, progress=stop, jobs=jobs)
        assert 50 <= len(caught.value.sweep.points) < 200


class FakeRay(ModuleType):
    """The functions of Ray that are used, with their rules, in this process."""

    class RemoteFunction:
        def __init__(self, function: Callable[..., Any]) -> None:
            self.function = function

        def __call__(self, *args: Any) -> None:
            raise TypeError("remote functions cannot be called directly")

        def remote(self, *args: Any) -> FakeRay.ObjectRef:
            values = [a.value if isinstance(a, FakeRay.ObjectRef) else a for a in args]
            return FakeRay.ObjectRef(self.function(*values))

    class ObjectRef:
        def __init__(self, value: Any) -> None:
            self.value = value

    def __init__(self) -> None:
        super().__init__("ray")
        self.up = False
        self.calls: list[Any] = []

    def is_initialized(self) -> bool:
        return self.up

    def init(self, address: str | None = None, **options: Any) -> None:
        assert not self.up
        if address == "nowhere:1":
            raise ConnectionError("ray.init() could not find\nany running cluster")
        self.up = True
        self.calls.append(address)

    def shutdown(self) -> None:
        self.up = False

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0, "memory": 1e9}

    def put(self, value: Any) -> FakeRay.ObjectRef:
        import pickle

        assert self.up
        return self.ObjectRef(pickle.loads(pickle.dumps(value)))

    def remote(self, function: Callable[..., Any]) -> FakeRay.RemoteFunction:
        return self.RemoteFunction(function)

    def wait(self, refs: list[Any], *, num_returns: int = 1) -> tuple[Any, Any]:
        assert 0 < num_returns <= len(refs) and len(set(refs)) == len(refs)
        # The last one is ready first, since order must not matter.
        return refs[-num_returns:], refs[:-num_returns]

    def get(self, ref: FakeRay.ObjectRef) -> Any:
        return ref.value


def test_a_cluster_finds_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archdsl.sweeps.CLUSTER_CHUNK", 7)
    whole = written(sweep("net.arch", AXES, pareto="params,macs", everything=True))
    ray = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", ray)
    for address in (True, "auto", "10.0.0.1:6379"):
        found = sweep(
            "net.arch", AXES, pareto="params,macs", everything=True, ray=address
        )
        assert written(found) == whole
    assert ray.calls == [None, None, "10.0.0.1:6379"] and not ray.up
    with pytest.raises(ClusterError, match=r"at nowhere:1: .* could not find any"):
        sweep("net.arch", AXES, ray="nowhere:1")
    ray.up = True  # an existing connection is used, and stays open
    assert written(
        sweep("net.arch", AXES, pareto="params,macs", everything=True, ray=True)
    )
    assert ray.up and len(ray.calls) == 3
    monkeypatch.setattr("archdsl.sweeps.cluster.__version__", "0.0")
    monkeypatch.setattr("archdsl.sweeps.cluster.rows_there", lambda *a: ("9", []))
    with pytest.raises(ClusterError, match=r"has archdsl 9, but this one has 0\.0"):
        sweep("net.arch", AXES, ray=True)


@pytest.mark.slow
def test_ray_itself_finds_the_same(folder: Path) -> None:
    pytest.importorskip("ray")
    whole = written(sweep("net.arch", AXES, everything=True))
    assert written(sweep("net.arch", AXES, everything=True, ray=True)) == whole


# ---- output ------------------------------------------------------------


def records(found: Sweep) -> list[dict[str, Any]]:
    return list(found.records())


def test_files_hold_the_records(folder: Path) -> None:
    found = sweep(
        "net.arch", AXES, columns=["params", "receptive_field"], where="width > 4"
    )
    rows = records(found)
    assert len(rows) == 60 and all(row["params"] for row in rows)
    text = encode_rows(found, "csv").decode()
    assert text.splitlines()[0] == ",".join(rows[0])
    read = list(csv.DictReader(io.StringIO(text)))
    assert read == [{k: str(v) for k, v in row.items()} for row in rows]
    lines = encode_rows(found, "jsonl").decode().splitlines()
    assert [json.loads(line) for line in lines] == rows
    whole = json.loads(encode_rows(found, "json"))
    assert whole["schema"] == 1 and whole["points"] == rows
    assert (whole["total"], whole["kept"]) == (108, 60)
    assert whole["axes"]["unit"] == ["plain", "short"]


def test_all_points_are_written_with_their_errors(folder: Path) -> None:
    axes = {"groups": "1,3", "count": "1,2"}
    found = sweep("net.arch", axes, where="count == 1", everything=True)
    params = [
        archdsl.analyze(archdsl.load("net.arch", params={"count": n})).params
        for n in (1, 2)
    ]
    rows = list(csv.reader(io.StringIO(encode_rows(found, "csv").decode())))
    assert [[*row[:3], *row[-2:]] for row in rows] == [
        ["groups", "count", "params", "kept", "error"],
        ["1", "1", str(params[0]), "true", ""],
        ["1", "2", str(params[1]), "false", ""],
        ["3", "1", "", "false", "A0304"],
        ["3", "2", "", "false", "A0304"],
    ]


def test_an_axis_hides_the_figure_of_its_name(folder: Path) -> None:
    (folder / "net.arch").write_text(NET.replace("count", "depth"), encoding="utf-8")
    found = sweep("net.arch", {"depth": "4,1"}, where="depth > 1", sort="depth")
    assert next(found.records())["depth"] == 4 and len(found.kept) == 1


def test_parquet_holds_the_records(folder: Path) -> None:
    pytest.importorskip("pyarrow")
    from pyarrow import parquet

    axes = {"groups": "1,3", "unit": "plain,relu", "input": "3x32x32,1x8x8"}
    found = sweep("net.arch", axes, everything=True)
    data = encode_rows(found, "parquet")
    table = parquet.read_table(io.BytesIO(data))
    assert table.to_pylist() == records(found)
    types = {name: str(table.schema.field(name).type) for name in table.column_names}
    assert types == {
        "groups": "int64",
        "unit": "string",
        "input": "string",
        "params": "int64",
        "macs": "int64",
        "kept": "bool",
        "error": "string",
    }
    assert encode_rows(found, "parquet") == data


@pytest.mark.parametrize(
    ("format", "head"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")]
)
def test_a_plot_shows_the_front(folder: Path, format: str, head: bytes) -> None:
    pytest.importorskip("matplotlib")
    found = sweep(
        "net.arch", {"width": "4..16:4", "count": "1..3"}, pareto="macs,-depth"
    )
    data = plot_points(found, format)
    assert data.startswith(head)
    assert plot_points(found, format) == data
    if format == "svg":
        text = data.decode()
        assert (
            "width=4, count=3" in text
            and "12 that fit" in text
            and "not fit" not in text
        )
        assert f"the front: {len(found.front)}" in text
        assert "depth (more is better)" in text
    found.plot(f"front.{format}")
    assert Path(f"front.{format}").read_bytes() == data


def test_files_are_written_by_their_name(folder: Path) -> None:
    found = sweep("net.arch", {"width": "4,8"})
    found.to_csv("a.csv")
    found.to_json("a.json")
    found.to_jsonl("a.jsonl")
    for format in ("csv", "json", "jsonl"):
        assert Path(f"a.{format}").read_bytes() == encode_rows(found, format)
    with pytest.raises(UnknownFormat, match="did you mean `csv`"):
        encode_rows(found, "cvs")
    with pytest.raises(ValueError, match="two objectives"):
        plot_points(found, "svg")


@pytest.mark.parametrize("extra", ["pyarrow", "matplotlib", "ray"])
def test_a_missing_extra_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, extra, None)
    found = sweep("net.arch", {"width": "4,8"}, pareto="params,macs")
    with pytest.raises(MissingExtra, match=r'pip install "archdsl\[(sweep|ray)\]"'):
        if extra == "ray":
            sweep("net.arch", {"width": "4"}, ray=True)
        elif extra == "pyarrow":
            found.to_parquet("a.parquet")
        else:
            found.plot("a.svg")


# ---- the command ----------------------------------------------------------------


class Result(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def invoke(*arguments: str) -> Result:
        return Result(main(["sweep", "net.arch", *arguments]), *capsys.readouterr())

    return invoke


def test_an_axis_of_several_kinds_may_fail_late(folder: Path, run: Run) -> None:
    (folder / "net.arch").write_text(
        "arch 1\nnetwork n<a> {\n    input 3x8x8\n    conv 3x3 8 if a != 2\n}\n",
        "utf-8",
    )
    code, out, err = run("a=1,relu", "--where", "a > 0")
    assert (code, out) == (2, "")
    assert '`a` is "relu", and must be a number, at column 1' in err


def test_a_condition_of_other_kinds_ends_the_command_at_once(run: Run) -> None:
    code, out, err = run("width=4", "--where", "params < 5M and not macs")
    assert (code, out) == (2, "")
    assert "`macs` is a number, and must be true or false, at column 21" in err


def test_the_command_prints_a_table(run: Run) -> None:
    code, out, err = run("width=4..12:4", "groups=1,3", "--where", "width < 10")
    assert (code, err) == (0, "")
    network = archdsl.analyze(archdsl.load("net.arch", params={"width": 8}))
    lines = out.splitlines()
    assert lines[0].split() == ["width", "groups", "params", "macs"]
    assert lines[2].split() == ["8", "1", f"{network.params:,}", f"{network.macs:,}"]
    assert lines[-2] == "6 points, 2 fit"
    assert lines[-1].startswith(
        "refused by A0304: 2, such as width=4, groups=3: conv: "
    )


def test_the_command_prints_json(run: Run) -> None:
    code, out, err = run("width=4..12:4", "--pareto", "params,-width", "--json")
    found = json.loads(out)
    assert (code, err, found["schema"], found["errors"]) == (0, "", 1, [])
    assert [point["width"] for point in found["points"]] == [4, 8, 12]
    assert found["pareto"] == ["params", "-width"]


def test_the_help_names_every_figure(run: Run) -> None:
    out = run("--help").out
    assert all(re.search(rf"\b{name}\b", out) for name in FIGURES)


def test_the_command_cuts_long_tables(run: Run) -> None:
    out = run("width=1..60").out
    assert "and 10 more; --top shows more, -o writes them all" in out
    assert out.count("\n") == 55
    out = run("width=1..60", "--sort=-params", "--top=2").out
    assert [line.split()[0] for line in out.splitlines()[1:3]] == ["60", "59"]


def test_the_command_writes_files(run: Run, folder: Path) -> None:
    pytest.importorskip("matplotlib")
    options = ("--pareto", "params,macs", "-o", "a.csv", "--plot", "a.svg")
    code, out, err = run("width=4..12:4", *options)
    assert (code, err) == (0, "")
    assert out.endswith("3 points, 3 fit, 1 on the front of params, macs\n") or out
    assert (folder / "a.csv").read_text().startswith("width,params,macs\n4,")
    assert (folder / "a.svg").read_text().startswith("<?xml")
    assert not (folder / "a.csv.journal").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["width=1..2:0"], 2, "steps of 0"),
        (["width"], 2, "not of the form"),
        ([], 2, "nothing varies"),
        (["width=1", "width=2"], 2, "given twice"),
        (["width=1", "-D", "width=2"], 2, "both vary and be fixed"),
        (["width=4", "--where", "parms < 5M"], 2, "did you mean `params`?"),
        (["width=4", "--where", "params <"], 2, "is not a condition"),
        (["width=4", "--pareto", "parms"], 2, "did you mean `params`?"),
        (["width=4", "-o", "a.xls"], 2, "unknown format `xls`"),
        (["width=4", "--plot", "a.svg"], 2, "add --pareto params,macs"),
        (["width=4", "-o", "none/a.csv"], 2, "cannot write none/a.csv.journal"),
        (["widht=4"], 1, "did you mean `width`?"),
        (["preset=smal"], 1, "did you mean `small`?"),
        (["width=1..10000000"], 4, "more than 1,000,000 values"),
        (["width=1..9999", "count=1..9999"], 4, "draw some of them with --sample"),
    ],
)
def test_the_command_says_what_is_wrong(
    run: Run, arguments: list[str], code: int, message: str
) -> None:
    found = run(*arguments)
    assert (found.code, found.out) == (code, "")
    assert message in found.err


def test_a_wrong_spec_ends_the_command(run: Run, folder: Path) -> None:
    (folder / "net.arch").write_text(NET.replace("conv 3x3 groups", "cnv 3x3 groups"))
    code, out, err = run("width=4,8", "-o", "a.csv")
    assert (code, out) == (1, "") and "did you mean `conv`?" in err
    assert not list(folder.glob("a.csv*"))
    code, out, err = run("width=4,8", "--json")
    assert (code, err) == (1, "")
    assert json.loads(out)["errors"][0]["code"] == "A0106"


@pytest.mark.parametrize(
    ("extra", "options"),
    [
        ("pyarrow", ["-o", "a.parquet"]),
        ("matplotlib", ["--pareto", "params,macs", "--plot", "a.svg"]),
        ("ray", ["--ray"]),
    ],
)
def test_a_missing_extra_has_its_own_status(
    run: Run, monkeypatch: pytest.MonkeyPatch, extra: str, options: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, extra, None)
    code, out, err = run(*options, "width=4,8")
    assert (code, out) == (3, "")
    assert 'pip install "archdsl[' in err


def test_ray_takes_an_address_or_none(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", ray)
    wanted = run("width=4,8").out
    for options in (["--ray"], ["--ray", "host:1"], ["--ray=host:2"]):
        assert run(*options, "width=4,8").out == wanted
        assert run("width=4,8", *options).out == wanted
    assert ray.calls == [None, None, "host:1", "host:1", "host:2", "host:2"]
    assert run("width=4", "--ray", "nowhere:1").code == 2


def test_the_command_goes_on_unless_told_otherwise(run: Run, folder: Path) -> None:
    sweep("net.arch", {"width": "4,8"}, journal="a.csv.journal")
    code, out, err = run("width=4,9", "-o", "a.csv")
    assert (code, out) == (2, "")
    assert "other axes: remove it, or start again with --restart" in err
    assert run("width=4,9", "-o", "a.csv", "--restart").code == 0
    assert (folder / "a.csv").read_text().count("\n") == 3


def test_an_interrupted_command_keeps_what_was_done(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tell(self: Meter, done: int) -> None:
        if done >= 50:
            raise KeyboardInterrupt

    monkeypatch.setattr(Meter, "__call__", tell)
    code, out, err = run("width=1..90", "--jobs=1", "-o", "a.csv")
    assert (code, out) == (130, "")
    assert "50 of 90 points are kept in a.csv.journal" in err
    code, out, err = run("width=1..90", "--jobs=1", "--top=3")
    assert code == 130 and "50 points of 90" in out
    assert "interrupted: these are 50 of 90 points" in err
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert main(["sweep", "net.arch", "width=1..90", "-o", "a.csv"]) == 0
    assert (folder / "a.csv").read_text().count("\n") == 91


def _all_of(terminal: int) -> str:
    """Return everything that was written to a terminal, until its other end closes."""
    parts = []
    with suppress(OSError):  # raised at the end
        while part := os.read(terminal, 65536):  # it may come in several parts
            parts.append(part)
    os.close(terminal)
    return b"".join(parts).decode()


def test_a_terminal_shows_how_far_it_is(folder: Path) -> None:
    parent, child = pty.openpty()
    command = [sys.executable, "-m", "archdsl", "sweep", "net.arch", "width=1..120"]
    environment = {**os.environ, "PYTHONPATH": str(Path(archdsl.__file__).parents[1])}
    out = subprocess.run(command, stdout=subprocess.PIPE, stderr=child, env=environment)
    os.close(child)
    seen = _all_of(parent)
    assert out.returncode == 0
    assert "[------------------------] 0/120" in seen
    assert seen.endswith("\r")
    plain = subprocess.run(command, capture_output=True, env=environment)
    assert (plain.stderr, plain.stdout) == (b"", out.stdout)


def test_a_meter_tells_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    times: Iterable[float] = iter([0.0, 0.0, 10.0, 10.01, 3610.0])
    monkeypatch.setattr("archdsl.cli.terminal.monotonic", lambda: next(iter(times)))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    meter = Meter(8000)
    for done in (1000, 2000, 2001, 7000):
        meter(done)
    meter.end()
    lines = [line.rstrip() for line in capsys.readouterr().err.split("\r")]
    assert lines == [
        "",
        "[###---------------------] 1,000/8,000",
        "[######------------------] 2,000/8,000  100/s  1:00 left",
        "[#####################---] 7,000/8,000  2/s  10:02 left",
        "",
        "",
    ]


@pytest.mark.parametrize(("columns", "width"), [("40", 39), ("200", 78), ("1", 1)])
def test_progress_never_wraps(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    columns: str,
    width: int,
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Progress(2) as progress:
        progress.step("a name " * 20)
    meter = Meter(8000)
    meter(0)
    meter.end()
    lines = [line for line in capsys.readouterr().err.split("\r") if line]
    assert [len(line) for line in lines] == [width] * 4


# ---- signals -----------------------------------------------------------------------


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let SIGINT interrupt: in a background job of a shell, it would be ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_signals_wait_for_a_safe_point() -> None:
    """Raised at any place, an interrupt could leave a lock of the pool held."""
    before = signal.getsignal(signal.SIGINT)
    with running._Held() as held:
        os.kill(os.getpid(), signal.SIGINT)
        held_back = signal.getsignal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            held.deliver()
        assert signal.getsignal(signal.SIGINT) is before is not held_back
        held.deliver()
    with pytest.raises(KeyboardInterrupt), running._Held():
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_processes_start_with_interrupts_blocked() -> None:
    """They would end with a traceback before they can ignore one."""
    masks = []

    class Pool:
        def submit(self, *_: object) -> None:
            masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))

    pool: Any = Pool()
    running._submit(pool, running.PointChunk(0, [1]))
    masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))
    assert [signal.SIGINT in mask for mask in masks] == [True, False]
