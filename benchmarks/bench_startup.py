"""Time `archdsl analyze specs/googlenet.arch` against `python -c "import torch"`.

Both are whole processes of this interpreter, run by turns. `cold` is archdsl without
a syntax tree in its cache, `warm` with one. `--write` keeps the table in startup.md.
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

from page import machine

ROOT = Path(__file__).parent.parent
SPEC = ROOT / "specs" / "googlenet.arch"
REPORT = Path(__file__).with_name("startup.md")

BARE = [sys.executable, "-c", "pass"]
TORCH = [sys.executable, "-c", "import torch"]
ARCHDSL = [str(Path(sys.executable).with_name("archdsl")), "analyze", str(SPEC)]

AIM, LIMIT = 8, 6


def seconds(command: list[str], environment: Mapping[str, str]) -> float:
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, env=dict(environment))
    elapsed = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr.decode()}")
    return elapsed


def measure(runs: int) -> dict[str, list[float]]:
    """Return the seconds of every run, by the command."""
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as cache:
        kept = {**os.environ, "XDG_CACHE_HOME": cache}
        seconds(TORCH, kept)  # from now on, the files are in memory
        seconds(ARCHDSL, kept)
        for turn in range(runs):
            fresh = {**kept, "XDG_CACHE_HOME": os.path.join(cache, str(turn))}
            steps: dict[str, Callable[[], float]] = {
                "python -c pass": lambda: seconds(BARE, kept),
                'python -c "import torch"': lambda: seconds(TORCH, kept),
                "archdsl analyze, cold": lambda env=fresh: seconds(ARCHDSL, env),
                "archdsl analyze, warm": lambda: seconds(ARCHDSL, kept),
            }
            for name, step in steps.items():
                times.setdefault(name, []).append(step())
    return times


def table(times: dict[str, list[float]]) -> list[str]:
    torch = statistics.median(times['python -c "import torch"'])
    lines = [
        "| process | median ms | fastest ms | slowest ms | of torch's import |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, found in times.items():
        median = statistics.median(found)
        figures = (1000 * value for value in (median, min(found), max(found)))
        cells = [
            name,
            *(f"{value:.1f}" for value in figures),
            f"1/{torch / median:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--write", action="store_true", help=f"write {REPORT.name}")
    arguments = parser.parse_args()

    # As `pip install` does with every package, torch included.
    compileall.compile_dir(ROOT / "archdsl", quiet=1)
    times = measure(arguments.runs)
    lines = table(times)
    print("\n".join(lines))
    medians = {name: statistics.median(found) for name, found in times.items()}
    share = medians['python -c "import torch"'] / medians["archdsl analyze, warm"]
    verdict = "met" if share >= AIM else "missed"
    print(f"\nwarm: 1/{share:.1f} of torch's import; the aim of 1/{AIM} is {verdict}")
    if arguments.write:
        today = datetime.date.today().isoformat()
        about = (
            f"Median of {arguments.runs} runs on {today}: {machine()}.\n"
            "Written by `python benchmarks/bench_startup.py --write`."
        )
        text = "\n".join(["# Start-up of the command line", "", about, "", *lines])
        REPORT.write_text(text + "\n", encoding="utf-8")
    if share < LIMIT:
        sys.exit(f"the limit of 1/{LIMIT} is exceeded")


if __name__ == "__main__":
    main()
