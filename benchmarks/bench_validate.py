"""Time the share of compilation that the proof takes, for shipped networks and chains.

CPU seconds in this process, without the cache of syntax trees and with the collector as
the command line sets it. `--write` keeps the tables in validate.md.
"""

import argparse
import datetime
import gc
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from page import machine, sections

import archdsl
from archdsl.backends.torch.check import check_text
from archdsl.backends.torch.validate import parse_module, validate
from archdsl.backends.torch.write import write_module
from archdsl.ir import Network
from archdsl.resources import shipped_presets

T = TypeVar("T")
REPORT = Path(__file__).with_name("validate.md")
# The largest share of the time from the spec's text to the module's.
SHARE_LIMIT = 1 / 3
# The largest ratio of times for eight times the layers.
CHAIN_LIMIT = 12.0


class Timed(NamedTuple):
    """CPU seconds of loading a spec, writing and checking its text, and proving it."""

    load: float
    write: float
    validate: float

    @property
    def share(self) -> float:
        return self.validate / sum(self)


def timed(action: Callable[[], T], runs: int) -> tuple[float, T]:
    best = float("inf")
    for _ in range(runs):
        gc.collect()
        start = time.process_time()
        made = action()
        best = min(best, time.process_time() - start)
    return best, made


def run(load: Callable[[], Network], runs: int) -> Timed:
    loading, network = timed(load, runs)
    writing, text = timed(lambda: write_module(network), runs)
    parsing, tree = timed(lambda: parse_module(text), runs)
    checking, _ = timed(lambda: check_text(tree), runs)
    proving, _ = timed(lambda: validate(tree, network), runs)
    return Timed(loading, writing + parsing + checking, proving)


def row(name: str, found: Timed) -> str:
    times = (f"{1000 * part:.1f}" for part in found)
    return f"| {name} | {' | '.join(times)} | {100 * found.share:.0f} % |"


HEAD = [
    "| network | load | write | validate | share |",
    "| --- | ---: | ---: | ---: | ---: |",
]


def presets(runs: int) -> tuple[list[str], bool]:
    found = {
        name: run(lambda name=name: archdsl.load(name), runs)  # type: ignore[misc]
        for name in sorted(shipped_presets())
    }
    total = Timed(*map(sum, zip(*found.values(), strict=True)))
    largest = sorted(found, key=lambda name: found[name].share)[-5:]
    lines = [*HEAD, row(f"all {len(found)}", total)]
    return [*lines, *(row(n, found[n]) for n in largest)], total.share < SHARE_LIMIT


def chain(size: int) -> Callable[[], Network]:
    body = "    conv 3x3 16\n" * size
    text = f"arch 1\n\nnetwork net {{\n    input 3x32x32\n{body}}}\n"
    return lambda: archdsl.loads(text)


def chains(runs: int) -> tuple[list[str], bool]:
    found = {size: run(chain(size), runs) for size in (1_000, 8_000)}
    lines = [*HEAD, *(row(f"{size:,} layers", one) for size, one in found.items())]
    grown = found[8_000].validate / found[1_000].validate
    return lines, grown < CHAIN_LIMIT and found[8_000].share < SHARE_LIMIT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--write", action="store_true", help=f"write {REPORT.name}")
    arguments = parser.parse_args()

    os.environ["ARCHDSL_CACHE"] = "off"
    gc.set_threshold(100_000, 20, 20)
    run(chain(3), 1)  # modules that are imported on demand
    parts = {
        "Shipped networks, ms, and those with the largest shares": presets,
        "Chains of convolutions, ms": chains,
    }
    text, missed = sections(parts, arguments.runs)
    if arguments.write:
        today = datetime.date.today().isoformat()
        about = (
            f"Best of {arguments.runs} runs on {today}: {machine()}.\n"
            "Milliseconds of CPU time; `write` covers the text, its syntax tree and\n"
            "the check against a whitelist before the proof.\n"
            f"The limit of the share is {100 * SHARE_LIMIT:.0f} %.\n"
            "Written by `python benchmarks/bench_validate.py --write`."
        )
        head = "# The share of compilation that the proof takes"
        REPORT.write_text(f"{head}\n\n{about}\n{text}", encoding="utf-8")
    if missed:
        sys.exit(f"missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
