"""CPU time of what a test does, whatever the tests before it have left.

A worker that has run for minutes holds so many objects that one collection of garbage,
which walks them all, takes over a second.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def small_heap() -> Iterator[None]:
    """Keep what is there already from being walked by the collector.

    It stays so afterwards: the next collection, too, has little to walk.
    """
    gc.collect()
    gc.freeze()
    yield


def cpu_seconds(action: Callable[[], object], runs: int = 3) -> float:
    """Return the least time of a few runs, since others share the processor."""
    with small_heap():
        return min(_once(action) for _ in range(runs))


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Check that a block takes no longer."""
    with small_heap():
        start = time.process_time()
        yield
        assert time.process_time() - start < seconds


# Seconds of the loop below where limits in seconds were set: on the machine of
# benchmarks/startup.md, where Python starts 1.4 times faster than where it takes 0.07.
_REFERENCE = 0.05


def slowness() -> float:
    """Return how many times slower the machine is now than that one, at least 1.

    On average, as what is measured beside it shares the processor as well.
    """
    with small_heap():
        return max(1.0, sum(_once(_loop) for _ in range(12)) / 12 / _REFERENCE)


def _loop() -> None:
    total = 0
    for number in range(2_000_000):
        total += number


def _once(action: Callable[[], object]) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start
