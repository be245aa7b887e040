"""Time sweeps over networks of ResNet-50's size, in points a second.

The points are computed in this process, in CPU seconds: that is one core. No two
points are alike. The whole commands are timed as processes, with one and with all
cores. `--write` keeps the tables in sweep.md.
"""

import argparse
import datetime
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from page import machine, sections

from archdsl.sweeps import FIGURES, sweep
from archdsl.sweeps.run import available_cores

REPORT = Path(__file__).with_name("sweep.md")
ARCHDSL = [str(Path(sys.executable).with_name("archdsl")), "sweep"]


# ResNet-50 with a width, so that every layer of every point can differ.
WIDE = """arch 1

block bottleneck<width, stride = 1> {
    residual {
        conv 1x1 width -> bn -> relu
        conv 3x3 /stride -> bn -> relu
        conv 1x1 (4 * width) -> bn
    } -> relu
}

block stage<width, count, stride = 2> seq {
    bottleneck<width, stride>
    bottleneck<width>  x(count - 1)
}

network resnet<width = 64, layers = [3, 4, 6, 3], classes = 1000> {
    input 3x224x224
    conv1: conv 7x7 64 /2 -> bn1: bn -> relu
    maxpool 3x3 /2 pad=1
    for i, count in layers {
        layer{i + 1}: stage<width * 2 ** i, count, 1 if i == 0 else 2>
    }
    globalavgpool
    fc: linear classes
}
"""


class Case(NamedTuple):
    """A sweep: its axes, the figures that it is asked for, and its aim.

    The aim is in points a second on one core.
    """

    axes: Mapping[str, object]
    figures: tuple[str, ...]
    aim: float | None = None


SUMS = ("params", "macs")
LAYERS = [
    (a, b, c, d) for a in (2, 3) for b in (3, 4) for c in (4, 5, 6) for d in (2, 3)
]
VIEWED = (*SUMS, "depth", "receptive_field")
CASES = {
    "classes 2 to 401, params and macs": Case({"classes": range(2, 402)}, SUMS, 200),
    "24 lists of layers at 16 sizes, params and macs": Case(
        {"layers": LAYERS, "input": [f"3x{n}x{n}" for n in range(128, 256, 8)]},
        SUMS,
        200,
    ),
    "widths 32 to 431, params and macs": Case({"width": range(32, 432)}, SUMS, 200),
    "heights 33 to 432, params and macs": Case(
        {"input": [f"3x{n}x224" for n in range(33, 433)]}, SUMS, 200
    ),
    "classes 2 to 401, with depth and receptive field": Case(
        {"classes": range(2, 402)}, VIEWED, 1000
    ),
    "widths 32 to 431, with depth and receptive field": Case(
        {"width": range(32, 432)}, VIEWED, 300
    ),
    "widths 32 to 131, all figures": Case({"width": range(32, 132)}, tuple(FIGURES)),
}


def rate(spec: str, case: Case, runs: int) -> tuple[int, float]:
    """Return the points of a sweep, and how many a CPU second computes."""
    best, points = 0.0, 0
    for _ in range(runs):
        start = time.process_time()
        found = sweep(spec, case.axes, columns=case.figures, jobs=1)
        seconds = time.process_time() - start
        assert not found.refused
        points = len(found.points)
        best = max(best, points / seconds)
    return points, best


def rates(spec: str, runs: int) -> tuple[list[str], bool]:
    lines = [
        "| sweep | points | points a second | aim |",
        "| --- | ---: | ---: | ---: |",
    ]
    met = True
    for name, case in CASES.items():
        points, found = rate(spec, case, runs)
        met &= case.aim is None or found > case.aim
        aim = "" if case.aim is None else f"{case.aim:,}"
        lines.append(f"| {name} | {points:,} | {found:,.0f} | {aim} |")
    return lines, met


def commands(spec: str, runs: int) -> tuple[list[str], bool]:
    axes = ["width=32..131", "classes=10..400:10"]
    lines = [
        "| processes | points | seconds | points a second |",
        "| ---: | ---: | ---: | ---: |",
    ]
    points = 100 * 40
    for jobs in dict.fromkeys((1, available_cores())):
        best = float("inf")
        for _ in range(runs):
            start = time.perf_counter()
            command = [*ARCHDSL, spec, *axes, "--pareto=params,macs", f"-j{jobs}"]
            subprocess.run(command, check=True, capture_output=True)
            best = min(best, time.perf_counter() - start)
        lines.append(f"| {jobs} | {points:,} | {best:.2f} | {points / best:,.0f} |")
    return lines, True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--write", action="store_true", help=f"write {REPORT.name}")
    arguments = parser.parse_args()

    os.environ["ARCHDSL_CACHE"] = "off"
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        spec = str(Path(folder, "resnet.arch"))
        Path(spec).write_text(WIDE, encoding="utf-8")
        parts = {
            "On one core": (lambda runs: rates(spec, runs)),
            "The whole command, 100 widths and 40 numbers of classes": (
                lambda runs: commands(spec, runs)
            ),
        }
        text, missed = sections(parts, arguments.runs)
    if arguments.write:
        today = datetime.date.today().isoformat()
        about = (
            f"Best of {arguments.runs} runs on {today}: {machine()}.\n"
            f"On average, {load:.1f} other processes wanted to run when it began.\n"
            "Points are in CPU seconds of one process, commands in seconds by the "
            "clock.\nWritten by `python benchmarks/bench_sweep.py --write`."
        )
        REPORT.write_text(f"# Sweeps\n\n{about}\n{text}", encoding="utf-8")
    if missed:
        sys.exit(f"missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
