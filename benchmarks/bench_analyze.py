"""Time `archdsl analyze specs/googlenet.arch` against torchinfo, and a warm analysis.

    python benchmarks/bench_analyze.py             both tables
    python benchmarks/bench_analyze.py --write keeps them in analyze.md

The first are whole processes of this interpreter, run by turns: the command, and the
import of torch and torchvision with torchinfo's summary of torchvision's GoogLeNet,
whose weights are left uninitialised. The second is the library in one process: from the
text of ResNet-50's spec to its whole report.
"""

import argparse
import compileall
import datetime
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from page import machine

ROOT = Path(__file__).parent.parent
SPEC = ROOT / "specs" / "googlenet.arch"
REPORT = Path(__file__).with_name("analyze.md")

# torchvision's compiled operators may not load beside a CPU build of torch; its models
# need none, but importing it does need the schemas of two (as in tests/oracle.py).
SUMMARY = """
import importlib.util
from pathlib import Path
from typing import Any
import torch

def loads():
    folder = Path(importlib.util.find_spec("torchvision").origin).parent
    for library in folder.glob("_C*.so"):
        try:
            torch.ops.load_library(library)
        except OSError:
            continue
        return True
    return False

if not loads():
    kept = torch.library.Library("torchvision", "FRAGMENT")
    kept.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    kept.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from torchinfo import summary
from torchvision.models import googlenet

columns = ("output_size", "num_params", "kernel_size", "mult_adds")
model = googlenet(weights=None, aux_logits=True, init_weights=False).eval()
summary(model, (1, 3, 224, 224), depth=5, col_names=columns, verbose=1)
"""
TORCHINFO = [sys.executable, "-c", SUMMARY]
ARCHDSL = [str(Path(sys.executable).with_name("archdsl")), "analyze", str(SPEC)]

SHARE = 10  # the other's time is at least this many times the command's
GUIDE_MS = 25  # milliseconds from text to report, on a machine with 2 cores
ALL = "all figures, as --json has them"


class Timed:
    """Seconds of every run, by the clock and of the CPU."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def add(self, wall: float, cpu: float) -> None:
        self.wall.append(wall)
        self.cpu.append(cpu)

    @property
    def median(self) -> float:
        return statistics.median(self.wall)

    @property
    def median_cpu(self) -> float:
        return statistics.median(self.cpu)

    def cells(self) -> list[str]:
        figures = (self.median, min(self.wall), max(self.wall), self.median_cpu)
        return [f"{1000 * value:,.1f}" for value in figures]


# ---- whole processes -----------------------------------------------------------------


def run(command: list[str], environment: Mapping[str, str], times: Timed) -> None:
    before, start = os.times(), time.perf_counter()
    done = subprocess.run(command, capture_output=True, env=dict(environment))
    wall, after = time.perf_counter() - start, os.times()
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr.decode()}")
    user = after.children_user - before.children_user
    times.add(wall, user + after.children_system - before.children_system)


def processes(runs: int) -> dict[str, Timed]:
    names = (
        "torchinfo on torchvision's GoogLeNet",
        "archdsl analyze, cold",
        "archdsl analyze, warm",
    )
    times = {name: Timed() for name in names}
    with tempfile.TemporaryDirectory() as cache:
        kept = {**os.environ, "XDG_CACHE_HOME": cache}
        run(TORCHINFO, kept, Timed())  # from now on, the files are in memory
        run(ARCHDSL, kept, Timed())
        for turn in range(runs):
            fresh = {**kept, "XDG_CACHE_HOME": os.path.join(cache, str(turn))}
            commands = ((TORCHINFO, kept), (ARCHDSL, fresh), (ARCHDSL, kept))
            for (command, environment), found in zip(
                commands, times.values(), strict=True
            ):
                run(command, environment, found)
    return times


def process_table(times: Mapping[str, Timed]) -> list[str]:
    theirs = next(iter(times.values()))
    lines = [
        "| process | median ms | fastest ms | slowest ms | CPU ms | of torchinfo's |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, found in times.items():
        cells = [name, *found.cells(), f"1/{theirs.median / found.median:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


# ---- the library ---------------------------------------------------------------------


def library(runs: int) -> dict[str, Timed]:
    """Return the times of the steps from ResNet-50's text to its report."""
    import gc

    import archdsl
    from archdsl.backends.table import report
    from archdsl.passes.analysis import analyze

    times: dict[str, Timed] = {}

    def step(name: str, work: Callable[[], Any], keep: bool) -> Any:
        start, cpu = time.perf_counter(), time.process_time()
        made = work()
        if keep:
            found = times.setdefault(name, Timed())
            found.add(time.perf_counter() - start, time.process_time() - cpu)
        return made

    def whole(keep: bool) -> Any:
        network = step("load", lambda: archdsl.load("resnet50", symbolic=False), keep)
        step("report", lambda: report(network, analyze(network).facts), keep)
        return network

    for turn in range(runs + 3):
        gc.collect()
        keep = turn >= 3
        network = step("text to report", lambda keep=keep: whole(keep), keep)
        gc.collect()
        step(ALL, lambda network=network: analyze(network).as_dict(), keep)
    return times


def library_table(cases: Mapping[str, Mapping[str, Timed]]) -> list[str]:
    lines = [
        "| trees | step | median ms | fastest ms | slowest ms | CPU ms |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for case, times in cases.items():
        for name, found in times.items():
            lines.append(f"| {' | '.join([case, name, *found.cells()])} |")
    return lines


def warm_library(runs: int) -> dict[str, dict[str, Timed]]:
    cases = {}
    for case, state in (("parsed each time", "off"), ("stored", "on")):
        with tempfile.TemporaryDirectory() as cache:
            os.environ.update(ARCHDSL_CACHE=state, XDG_CACHE_HOME=cache)
            cases[case] = library(runs)
    return cases


def guide(case: str, times: Mapping[str, Timed]) -> str:
    # CPU time is the time on an idle machine, since all work is done in one thread.
    took = 1000 * times["text to report"].median_cpu
    more = 1000 * (times["load"].median_cpu + times[ALL].median_cpu)
    verdict = "met" if took <= GUIDE_MS else "missed"
    return (
        f"Trees {case}: {took:.1f} ms of CPU time to the report; the guide of "
        f"{GUIDE_MS} ms is {verdict}. With all figures, {more:.1f} ms."
    )


# ---- the page ------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="of the processes")
    parser.add_argument("--library-runs", type=int, default=40)
    parser.add_argument("--write", action="store_true", help=f"write {REPORT.name}")
    arguments = parser.parse_args()

    # As `pip install` does with every package, torch included.
    compileall.compile_dir(ROOT / "archdsl", quiet=1)
    times = processes(arguments.runs)
    cases = warm_library(arguments.library_runs)
    theirs, _, ours = times.values()
    share = theirs.median / ours.median
    verdict = "met" if share >= SHARE else "missed"
    lines = [
        *process_table(times),
        "",
        f"Warm: 1/{share:.1f} of torchinfo's time; the aim of 1/{SHARE} is {verdict}.",
        "",
        "## From text to report in one process, ResNet-50",
        "",
        *library_table(cases),
        "",
        *map(guide, cases, cases.values()),
    ]
    print("\n".join(lines))
    if arguments.write:
        about = (
            f"Median of {arguments.runs} runs of each process and of "
            f"{arguments.library_runs} in the library, on "
            f"{datetime.date.today().isoformat()}: {machine()}.\n"
            "Written by `python benchmarks/bench_analyze.py --write`."
        )
        head = ["# The time of an analysis", "", about, "", "## Whole processes", ""]
        REPORT.write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")
    if share < SHARE:
        sys.exit(f"the limit of 1/{SHARE} is exceeded")


if __name__ == "__main__":
    main()
