"""Time parsing, checking and analysing as networks grow, all commands, and `list`.

The networks are timed in this process, in CPU seconds, without the cache of syntax
trees and with the collector as the command line sets it. `--write` keeps the tables in
scaling.md.
"""

import argparse
import datetime
import gc
import io
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from math import inf, log
from pathlib import Path
from typing import NamedTuple

from forms import CORRECT, WRONG
from page import machine, sections

import archdsl
from archdsl.api import elaborate_module
from archdsl.cli import main as command_line
from archdsl.cli import status
from archdsl.diagnostics import SpecError
from archdsl.limits import MAX_PARTS, MAX_WRITTEN
from archdsl.passes.analysis import analyze
from archdsl.syntax.loader import load_text

REPORT = Path(__file__).with_name("scaling.md")
ARCHDSL = [str(Path(sys.executable).with_name("archdsl")), "list"]

# The largest ratio of times for ten times the convolutions.
CHAIN_LIMIT = 13.0
# The exponent of the time in the number of edges: 2 is quadratic.
EDGES_LIMIT = 2.0
LIST_LIMIT = 5.0
FORMS = {**CORRECT, **WRONG}
# The largest ratio of times for four times a form; quadratic growth would give 16.
FORM_LIMIT = 6.0
FORM_SIZES = (500, 2_000)
# The most seconds of every command for the largest specs that limits allow.
LARGEST_LIMIT = 5.0


def spec(body: str, blocks: str = "") -> str:
    return f"arch 1\n\n{blocks}network net {{\n    input 3x32x32\n{body}}}\n"


# ---- networks of a size -----------------------------------------------------------


def written(n: int) -> str:
    return spec("    conv 3x3 16\n" * n)


def joined(n: int) -> str:
    return spec("    conv 3x3 16" + " -> conv 3x3 16" * (n - 1) + "\n")


def repeated(n: int) -> str:
    return spec(f"    conv 3x3 16  x{n}\n")


def looped(n: int) -> str:
    return spec(f"    for i in range({n}) {{\n        conv{{i}}: conv 3x3 16\n    }}\n")


def called(n: int) -> str:
    block = "block unit<width, stride = 1> {\n    conv 3x3 width /stride\n}\n\n"
    return spec(f"    unit<16>  x{n // 2}\n", block)  # a block counts as a part, too


def dense(n: int) -> str:
    return spec(f"    dense<growth = 4, layers = {n}>\n")


def tapped(n: int) -> str:
    """Return a dense block in which each layer taps all before it, one by one."""
    lines = ["    l0: conv 3x3 4\n"]
    for i in range(1, n):
        taps = " | ".join(f"@l{k}" for k in range(i))
        joint = f"concat {{ {taps} }} -> " if i > 1 else ""
        lines.append(f"    {joint}l{i}: conv 3x3 4\n")
    return spec("".join(lines))


CHAINS: dict[str, Callable[[int], str]] = {
    "chain, a line each": written,
    "chain, one line": joined,
    "chain, by a repeat": repeated,
    "chain, by a loop with labels": looped,
    "chain, by a block (half as many)": called,
}
CHAIN_SIZES = (1_000, 10_000)
DENSE: dict[str, tuple[Callable[[int], str], tuple[int, ...]]] = {
    "dense block of the library": (dense, (100, 250, 500)),
    "dense block, tap by tap": (tapped, (50, 100, 200)),
}


class Timed(NamedTuple):
    """CPU seconds of each stage, and the edges of the graph."""

    parse: float
    check: float
    analyse: float
    edges: int

    @property
    def total(self) -> float:
        return self.parse + self.check + self.analyse


def run(text: str) -> Timed:
    gc.collect()
    start = time.process_time()
    module = load_text(text, "net.arch")
    parsed = time.process_time()
    network = elaborate_module(module, symbolic=False)
    checked = time.process_time()
    analyze(network).as_dict()  # figures are only computed on demand
    analysed = time.process_time()
    edges = sum(len(step.inputs) for step in network.steps())
    return Timed(parsed - start, checked - parsed, analysed - checked, edges)


def best(text: str, runs: int) -> Timed:
    return min((run(text) for _ in range(runs)), key=lambda timed: timed.total)


def exponent(before: Timed, after: Timed) -> float:
    """Return the exponent with which the time grows in the number of edges."""
    return log(after.total / before.total) / log(after.edges / before.edges)


# ---- commands ---------------------------------------------------------------------

COMMANDS: dict[str, list[str]] = {
    "check": ["check", "FILE"],
    "lint": ["lint", "FILE"],
    "lint --diff": ["lint", "--diff", "FILE"],
    "fmt": ["fmt", "--diff", "FILE"],
    "analyze": ["analyze", "FILE"],
    "analyze --show all": ["analyze", "FILE", "--show", "all"],
    "compare": ["compare", "FILE", "FILE"],
    "sweep": ["sweep", "FILE", "input=3x16x16"],
    "compile": ["compile", "FILE"],
    "render": ["render", "FILE", "--format", "dot"],
    "render --unfold": ["render", "FILE", "--unfold", "--format", "dot"],
}


def command_seconds(command: str, text: str) -> float:
    """Return the CPU seconds of a command over a spec, in this process."""
    with (
        tempfile.NamedTemporaryFile("w", suffix=".arch") as file,
        redirect_stdout(io.TextIOWrapper(io.BytesIO())),
        redirect_stderr(io.StringIO()),
    ):
        file.write(text)
        file.flush()
        words = [file.name if word == "FILE" else word for word in COMMANDS[command]]
        gc.collect()
        start = time.process_time()
        code = command_line(words)
        spent = time.process_time() - start
    assert code in (status.OK, status.SPEC_ERRORS), (command, code, text[:200])
    return spent


def growth(command: str, form: str, sizes: tuple[int, int] = FORM_SIZES) -> float:
    """Return how many times longer a command takes for the larger of two specs.

    Other processes share the processor, so a large ratio is measured three times.
    """
    few, many = (FORMS[form](size) for size in sizes)
    small, large = inf, inf
    for _ in range(3):
        small = min(small, command_seconds(command, few))
        large = min(large, command_seconds(command, many))
        if large < FORM_LIMIT * small:
            break
    return large / small


def commands(_: int) -> tuple[list[str], bool]:
    lines = [
        "| command | greatest ratio | of the form |",
        "| --- | ---: | --- |",
    ]
    met = True
    for command in COMMANDS:
        command_seconds(command, written(3))  # modules that are imported on demand
        ratio, form = max((growth(command, form), form) for form in FORMS)
        met &= ratio < FORM_LIMIT
        lines.append(f"| {command} | {ratio:.1f} | {form} |")
    return lines, met


def largest_size(form: str, layers: int) -> int:
    """Return a size of a form, within 200 of the largest that limits allow."""

    def fits(size: int) -> bool:
        try:
            network = archdsl.loads(FORMS[form](size), symbolic=False)
        except SpecError as error:
            return not any(found.is_limit for found in error.diagnostics)
        return sum(1 for _ in network.steps()) <= layers

    least, most = FORM_SIZES[0], MAX_PARTS
    if fits(most):
        return most
    while most - least > 200:
        middle = (least + most) // 2
        least, most = (middle, most) if fits(middle) else (least, middle)
    return least


# Of all `FORMS`, those that take the most time per layer.
HEAVY = ("lines", "labels", "groups", "projections", "for", "blocks", "allowed")
# Commands that take smaller networks.
WRITING = ("compile", "render", "render --unfold")


def largest(_: int) -> tuple[list[str], bool]:
    bounds = {False: MAX_PARTS, True: MAX_WRITTEN}
    sizes = {
        (form, writes): largest_size(form, most)
        for form in HEAVY
        for writes, most in bounds.items()
    }
    lines = [
        "| command | CPU seconds | of the form | size |",
        "| --- | ---: | --- | ---: |",
    ]
    met = True
    for command in COMMANDS:
        writes = command in WRITING
        spent, form = max(
            (command_seconds(command, FORMS[form](sizes[form, writes])), form)
            for form in HEAVY
        )
        # A comparison takes two of the largest specs.
        met &= spent < LARGEST_LIMIT * COMMANDS[command].count("FILE")
        lines.append(f"| {command} | {spent:.1f} | {form} | {sizes[form, writes]:,} |")
    return lines, met


# ---- tables -----------------------------------------------------------------------


def chains(runs: int) -> tuple[list[str], bool]:
    small, large = CHAIN_SIZES
    lines = [
        f"| network | {small:,} | {large:,} | ratio | parse | check | analyse |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    met = True
    for name, make in CHAINS.items():
        one, ten = best(make(small), runs), best(make(large), runs)
        ratio = ten.total / one.total
        met &= ratio < CHAIN_LIMIT
        stages = (1000 * part for part in ten[:3])
        cells = [
            name,
            f"{1000 * one.total:.1f}",
            f"{1000 * ten.total:.1f}",
            f"{ratio:.1f}",
            *(f"{part:.1f}" for part in stages),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines, met


def dense_blocks(runs: int) -> tuple[list[str], bool]:
    lines = [
        "| network | layers | edges | ms | exponent in the edges |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    met = True
    for name, (make, sizes) in DENSE.items():
        previous: Timed | None = None
        for size in sizes:
            timed = best(make(size), runs)
            grown = ""
            if previous is not None:
                power = exponent(previous, timed)
                met &= power <= EDGES_LIMIT
                grown = f"{power:.2f}"
            cells = [name, f"{size}", f"{timed.edges:,}", f"{1000 * timed.total:.1f}"]
            lines.append(f"| {' | '.join([*cells, grown])} |")
            previous = timed
    return lines, met


def spent(environment: Mapping[str, str]) -> tuple[float, float, int]:
    """Return wall and CPU seconds of `archdsl list`, and its networks."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(ARCHDSL, capture_output=True, text=True, env=environment)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"archdsl list failed:\n{done.stderr}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, done.stdout.partition("\n\n")[0].count("\n")


def listing(runs: int) -> tuple[list[str], bool]:
    lines = [
        "| process | networks | seconds | CPU seconds |",
        "| --- | ---: | ---: | ---: |",
    ]
    met = True
    with tempfile.TemporaryDirectory() as cache:
        kept = {**os.environ, "ARCHDSL_CACHE": "on", "XDG_CACHE_HOME": cache}
        spent(kept)  # from now on, the trees are stored
        for name in ("cold", "warm"):
            found = []
            for turn in range(runs):
                fresh = os.path.join(cache, str(turn))
                found.append(
                    spent({**kept, "XDG_CACHE_HOME": fresh} if name == "cold" else kept)
                )
            wall, cpu, networks = min(found, key=lambda one: one[1])
            met &= cpu < LIST_LIMIT
            lines.append(
                f"| archdsl list, {name} | {networks} | {wall:.2f} | {cpu:.2f} |"
            )
    return lines, met


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--write", action="store_true", help=f"write {REPORT.name}")
    arguments = parser.parse_args()

    os.environ["ARCHDSL_CACHE"] = "off"
    gc.set_threshold(100_000, 20, 20)
    (
        run(written(10)),
        run(dense(3)),
    )  # modules that are imported on demand, and the library
    parts = {
        f"Chains of convolutions, ms (the ratio's limit is {CHAIN_LIMIT:g})": chains,
        f"Dense blocks (the exponent's limit is {EDGES_LIMIT:g})": dense_blocks,
        f"Each command over {len(FORMS)} forms of specs, {FORM_SIZES[0]:,} to "
        f"{FORM_SIZES[1]:,} parts (the ratio's limit is {FORM_LIMIT:g})": commands,
        f"Each command over the largest of each form that limits allow (the limit is "
        f"{LARGEST_LIMIT:g} CPU seconds a spec)": largest,
        f"All shipped networks (the limit is {LIST_LIMIT:g} CPU seconds)": listing,
    }
    text, missed = sections(parts, arguments.runs)
    if arguments.write:
        today = datetime.date.today().isoformat()
        about = (
            f"Best of {arguments.runs} runs on {today}: {machine()}.\n"
            "CPU time of parsing, checking and analysing, without stored trees.\n"
            "Written by `python benchmarks/bench_scaling.py --write`."
        )
        REPORT.write_text(f"# How time grows\n\n{about}\n{text}", encoding="utf-8")
    if missed:
        sys.exit(f"missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
