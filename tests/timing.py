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
    """Keep what is there already from being walked by the collector."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


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


def _once(action: Callable[[], object]) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start
