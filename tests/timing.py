"""Measuring the CPU time of a test, independently of the tests before it.

A worker that has run for minutes holds so many objects that a single garbage collection
takes over a second.
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
    """Keep the garbage collector from scanning existing objects.

    This lasts beyond the context. Within it, the collector runs as rarely as in a
    command.
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
    """Return the least CPU time of a few runs, since other processes interfere."""
    with small_heap():
        return min(once(action) for _ in range(runs))


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Check that a block takes no longer."""
    with small_heap():
        start = time.process_time()
        yield
        assert time.process_time() - start < seconds


# Seconds to load the chain below on the machine for which limits were set: that of
# benchmarks/scaling.md (2026-11-25), which loads a chain of 10,000 layers in 0.84 s.
_REFERENCE = 0.025
_CHAIN = "arch 1\nnetwork n {\n input 8x16x16\n" + " conv 3x3 8\n" * 300 + "}\n"


def slowness() -> float:
    """Return how much slower this machine currently is than the reference; at least 1.

    It is an average, as the measured code shares the processor, too. It times what
    archdsl does most, in which processors differ more than in bare loops.
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
