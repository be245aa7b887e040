"""Interleaved timing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median, quantiles
from typing import NamedTuple

# A round of calls takes at least so long, or the clock and the first call would count.
_ROUND_SECONDS = 0.05
_LEAST_ROUNDS = 5


class Times(NamedTuple):
    """Seconds that a call took.

    Attributes:
        rounds: the mean of the calls of each round.
        calls: how many calls a round has.
    """

    rounds: tuple[float, ...]
    calls: int

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return median(self.rounds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The times that a quarter of the rounds stay below, and exceed."""
        first, _, third = quantiles(self.rounds, n=4, method="inclusive")
        return first, third


def measure_times(
    calls: Sequence[Callable[[], object]], seconds: float
) -> Iterator[list[Times]]:
    """Time functions in turns, and yield what is known after each round.

    In each round, every function is called so often that the round takes longer than
    the clock's resolution. Taking turns spreads other load on the machine over all of
    them.

    Args:
        calls: the functions; each must wait for its own result.
        seconds: how long to go on, for each of them; at least five rounds are timed.
    """
    # The first calls choose algorithms and allocate memory.
    for call in calls:
        call()
        call()
    numbers = [max(1, round(_ROUND_SECONDS / max(_timed(c, 1), 1e-9))) for c in calls]
    rounds: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + seconds * len(calls)
    while len(rounds[0]) < _LEAST_ROUNDS or time.perf_counter() < end:
        for found, call, number in zip(rounds, calls, numbers, strict=True):
            found.append(_timed(call, number))
        yield [
            Times(tuple(one), number)
            for one, number in zip(rounds, numbers, strict=True)
        ]


def _timed(call: Callable[[], object], number: int) -> float:
    """Return the mean time of some calls."""
    start = time.perf_counter()
    for _ in range(number):
        call()
    return (time.perf_counter() - start) / number
