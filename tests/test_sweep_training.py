"""Sweeps that train: accuracies, early stopping, and resuming."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archdsl.backends.training import parse_recipe, shipped_recipe
from archdsl.backends.training.folder import read_metrics
from archdsl.backends.training.recipe import Recipe
from archdsl.cli import main
from archdsl.cli.commands import sweep as options
from archdsl.sweeps import Interrupted, Sweep, Training, sweep
from archdsl.sweeps.output import encode_rows, plot_points
from tests.test_cli import Run, folder, run

__all__ = ["folder", "run"]

NET = """arch 1

network Net<width = 4, count = 1> {
    input 1x8x8
    conv 3x3 width /2 -> bn -> relu
    conv 3x3 width /2 -> bn -> relu  x(count)
    flatten
    linear 10
}
"""
AXES = {"width": "12,1,8,2"}


def recipe(*changes: str) -> Recipe:
    source = shipped_recipe("digits")
    assert source is not None
    return parse_recipe(
        source, ("epochs=3", "batch=256", "schedule.warmup_epochs=0", *changes)
    )


@pytest.fixture(autouse=True)
def files_of(folder: Path) -> Path:
    Path("net.arch").write_text(NET, encoding="utf-8")
    return folder


def trained(
    say: Callable[[str], None] = print, pruner: str = "halving", **options: Any
) -> Sweep:
    how = Training(recipe(), "digits", pruner, folder=Path("runs"), say=say)
    return sweep("net.arch", AXES, train=how, everything=True, **options)


def test_losers_are_stopped_and_a_sweep_goes_on_where_it_was() -> None:
    said: list[str] = []
    whole = trained(said.append, pareto="params,-accuracy", journal="whole.journal")
    rows = [(p.figures["accuracy"], p.figures["epochs"]) for p in whole.points]
    # One channel is worse than twelve from the first epoch on.
    assert rows[0][1] == 3 and rows[1][1] == 1
    assert all(0 < accuracy < 1 for accuracy, _ in rows)
    assert len(said) == 4 and said[1].endswith("after 1 epoch, stopped")
    for point, (accuracy, epochs) in zip(whole.points, rows, strict=True):
        history = read_metrics(Path("runs") / f"{point.number:06}")
        assert len(history) == epochs
        assert history[-1]["test_top1"] == pytest.approx(accuracy, abs=1e-6)
    assert Path("runs/000000/weights.safetensors").exists()
    drawn = plot_points(whole, "svg").decode()
    assert "trained in full" in drawn and "stopped early" in drawn
    assert re.search(r"\d%</text>", drawn)
    shutil.rmtree("runs")

    # Interrupted when a point has been trained, but its row is not saved yet.
    def stop(line: str) -> None:
        if line.startswith("width=1:"):
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as error:
        trained(stop, pareto="params,-accuracy", journal="parts.journal")
    assert len(error.value.sweep.points) == 1
    again = trained(pareto="params,-accuracy", journal="parts.journal")
    assert encode_rows(again, "csv") == encode_rows(whole, "csv")


def test_what_does_not_fit_is_not_trained() -> None:
    said: list[str] = []
    how = Training(recipe("epochs=1"), "digits", say=said.append)
    found = sweep("net.arch", AXES, train=how, where="params < 200", everything=True)
    fits = [point.figures["params"] < 200 for point in found.points]
    assert any(fits) and not all(fits)
    for point, fit in zip(found.points, fits, strict=True):
        assert (point.figures["accuracy"] is not None) is fit
        assert point.figures["epochs"] == (1 if fit else None)
    assert len(said) == sum(fits)


def test_a_loss_that_is_not_finite_is_no_accuracy() -> None:
    how = Training(recipe("optimizer.lr=1e30"), "digits", say=print)
    found = sweep("net.arch", {"width": [2]}, train=how)
    assert found.points[0].figures["accuracy"] is None
    assert found.points[0].figures["epochs"] == 0


@pytest.mark.parametrize("pruner", options._PRUNERS)
def test_every_pruner_is_there(pruner: str) -> None:
    how = Training(recipe("epochs=1"), "digits", pruner, say=print)
    found = sweep("net.arch", {"width": [2]}, train=how)
    assert found.points[0].figures["epochs"] == 1


def test_wrong_arguments_are_refused() -> None:
    how = Training(recipe(), "digits", "nothing")
    with pytest.raises(ValueError, match="must be one of halving, hyperband"):
        sweep("net.arch", AXES, train=how)
    with pytest.raises(ValueError, match="leave `jobs` and `ray` out"):
        sweep("net.arch", AXES, train=how, jobs=2)
    with pytest.raises(TypeError, match="must be a Training, not str"):
        sweep("net.arch", AXES, train="digits")  # type: ignore[arg-type]


ASK = ("sweep", "net.arch", "width=2,8", "--train", "digits", "--data", "digits")


def test_the_command(run: Run) -> None:
    quick = ("--set=epochs=2", "--set=batch=256", "--set=schedule.warmup_epochs=0")
    found = run(*ASK, *quick, "--pareto", "params,-accuracy", "-o", "t.csv")
    assert found.code == 0, found.err
    assert "% after 2 epochs" in found.err
    with Path("t.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {*rows[0]} == {"width", "params", "macs", "accuracy", "epochs"}
    assert Path("t.csv.runs/000001/metrics.csv").exists()
    assert not Path("t.csv.journal").exists()
    assert run("plot", *sorted(Path("t.csv.runs").iterdir()), "-o", "t.svg").code == 0
    # Finished runs are read from disk.
    assert run(*ASK, *quick, "-o", "t.json", "--json").json["points"][0]["epochs"] == 2
    found = run(*ASK, *quick, "--set", "epochs=1", "-o", "t.csv", "--all")
    assert found.code == 1 and "the recipe of the run in t.csv.runs" in found.err
    restart = run(*ASK, *quick, "--set", "epochs=1", "-o", "t.csv", "--restart")
    assert restart.code == 0, restart.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (ASK[:5], 2, "--train needs --data"),
        ((*ASK[:3], "--data", "digits"), 2, "--data and --set need --train"),
        ((*ASK, "-j", "2"), 2, "--train runs in one process"),
        ((*ASK[:3], "--train", "digts", "--data", "digits"), 2, "`digits`?"),
        ((*ASK, "--set", "epochs=0"), 1, "error[A1103]"),
        ((*ASK[:5], "--data", "nothing"), 1, "error[A1104]"),
        ((*ASK, "--input", "1x9x9"), 1, "--input 1x8x8"),
    ],
)
def test_the_command_refuses(
    run: Run, arguments: tuple[str, ...], code: int, said: str
) -> None:
    found = run(*arguments)
    assert (found.code, said in found.err) == (code, True), found.err


def test_without_optuna(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    found = run(*ASK)
    assert (found.code, 'pip install "archdsl[tune]"' in found.err) == (3, True)


@pytest.mark.slow
def test_a_killed_sweep_goes_on_in_the_middle_of_a_run(folder: Path) -> None:
    ask = (
        *ASK,
        "--set=epochs=4",
        "--set=batch=128",
        "--pareto",
        "params,-accuracy",
        "--all",
        "-o",
    )
    command = [sys.executable, "-m", "archdsl", *ask]
    process = subprocess.Popen([*command, "killed.csv"], stderr=subprocess.DEVNULL)
    state = folder / "killed.csv.runs" / "000000" / "checkpoints"
    end = time.monotonic() + 120
    while not state.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    process.kill()
    assert process.wait() != 0
    assert Path("killed.csv.journal").exists() and not Path("killed.csv").exists()
    for name in ("killed.csv", "whole.csv"):
        assert main([*ask, name]) == 0
    assert Path("killed.csv").read_bytes() == Path("whole.csv").read_bytes()
