"""CPU time of what a test does, whatever the tests before it have left.

A worker that has run for minutes holds so many objects that one collection of garbage,
which walks them all, takes over a second.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import archdsl
from archdsl.cli import COLLECTOR


@contextmanager
def small_heap() -> Iterator[None]:
    """Keep what is there already from being walked by the collector.

    It stays so afterwards: the next collection, too, has little to walk. Meanwhile the
    collector runs as seldom as in a command.
    """
    gc.collect()
    gc.freeze()
    usual = gc.get_threshold()
    gc.set_threshold(*COLLECTOR)
    try:
        yield
    finally:
        gc.set_threshold(*usual)


def cpu_seconds(action: Callable[[], object], runs: int = 3) -> float:
    """Return the least time of a few runs, since others share the processor."""
    with small_heap():
        return min(once(action) for _ in range(runs))


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Check that a block takes no longer."""
    with small_heap():
        start = time.process_time()
        yield
        assert time.process_time() - start < seconds


# Seconds to load the chain below where limits in seconds were set: on the machine of
# benchmarks/scaling.md (2026-11-25), which loads one of 10,000 in 0.84.
_REFERENCE = 0.025
_CHAIN = "arch 1\nnetwork n {\n input 8x16x16\n" + " conv 3x3 8\n" * 300 + "}\n"


def slowness() -> float:
    """Return how many times slower the machine is now than that one, at least 1.

    On average, as what is measured beside it shares the processor as well. The measure
    is what archdsl does most: processors differ more in that than in bare loops.
    """
    with small_heap():
        return max(1.0, sum(once(_load) for _ in range(6)) / 6 / _REFERENCE)


def _load() -> None:
    archdsl.loads(_CHAIN, symbolic=False)


def once(action: Callable[[], object]) -> float:
    """Return the CPU seconds of one run."""
    start = time.process_time()
    action()
    return time.process_time() - start
