"""Receptive fields that alternate: after upsampling layers, they depend on the phase.

After a transposed convolution with stride 2, even and odd units see windows of
different sizes, and so on after further ones. Along an axis, the fields of the units of
a value repeat with a period: unit ``q * period + r`` sees what unit r sees, shifted by
``q * jump``. All positions are integers, and everything is exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import gcd, lcm
from typing import Final, NamedTuple

# First and last position that a unit sees; None if it sees nothing.
Ends = tuple[int, int] | None

# A period longer than this and than the number of units is cut to that number.
MOST_PHASES: Final = 64
# The most ways along an axis that are kept; if there are more, they become a table of
# the units.
MOST_WAYS: Final = 16


class Periodic(NamedTuple):
    """What units see along an axis, including units beyond its ends.

    Attributes:
        ends: what each unit of the first period sees.
        jump: distance between the fields of one period and the next.
    """

    ends: tuple[Ends, ...]
    jump: int

    def unit(self, number: int) -> Ends:
        """Return the first and last position that a unit sees."""
        period, phase = divmod(number, len(self.ends))
        ends = self.ends[phase]
        if ends is None or not period:
            return ends
        return ends[0] + period * self.jump, ends[1] + period * self.jump

    def moved(self, first: int, last: int) -> Periodic:
        """Return the same, shifted by given positions at both ends."""
        ends = [e and (e[0] + first, e[1] + last) for e in self.ends]
        return Periodic(tuple(ends), self.jump)


STEADY: Final = Periodic(((0, 0),), 1)


def slide(
    seen: Periodic,
    kernel: int,
    stride: int,
    pad: int,
    dilation: int,
    up: int,
    units: int | None = None,
) -> Periodic:
    """Return what a window sees that slides along an axis; see `values.Window`.

    Periods multiply if sizes do not divide each other. If the number of units is given,
    a period that is too long becomes a table, as in `together`.
    """
    period = len(seen.ends)
    phases = period * up // gcd(period * up, stride)
    if units is not None and _too_long(phases, units):
        phases = units
    # Only every `apart`-th tap meets a unit of the input; the others meet gaps.
    common = gcd(dilation, up)
    apart, step = up // common, dilation // common
    inverse = pow(step, -1, apart)
    # One unit per phase suffices, since each phase only shifts.
    most = period // gcd(period, step)
    rising = _rises(seen)
    ends: list[Ends] = []
    for unit in range(phases):
        start = unit * stride - pad
        tap = -(start // common) * inverse % apart
        if start % common or tap >= kernel:
            ends.append(None)
            continue
        met = (kernel - 1 - tap) // apart + 1
        first = (start + dilation * tap) // up
        last = first + (met - 1) * step
        if rising:
            low, high = seen.unit(first), seen.unit(last)
            ends.append(low and high and (low[0], high[1]))
        else:
            some = min(met, most)
            read = [first + n * step for n in range(some)]
            read += [last - n * step for n in range(some)]
            ends.append(hull(map(seen.unit, read)))
    # Rounded up to an integer for a table, beyond whose units fields are only
    # extrapolated.
    jump = -(-phases * stride * seen.jump // (up * period))
    return shortest(Periodic(tuple(ends), jump))


def _rises(seen: Periodic) -> bool:
    """Return whether no unit sees anything before what an earlier unit sees."""
    row = [*seen.ends, seen.unit(len(seen.ends))]
    if len(row) == 2:
        return True
    return None not in row and all(
        [one[0] <= other[0] and one[1] <= other[1] for one, other in pairwise(row)]  # type: ignore[index]
    )


def hull(parts: Iterable[Ends]) -> Ends:
    """Return the first and the last position that any of some units sees."""
    known = [ends for ends in parts if ends is not None]
    if not known:
        return None
    return min([first for first, _ in known]), max([last for _, last in known])


def shortest(seen: Periodic) -> Periodic:
    """Return the same with the shortest period, so that equal fields compare equal."""
    if not any(seen.ends):
        return Periodic((None,), 0)
    ends, jump = seen
    for prime in _primes(len(ends)):
        while len(ends) % prime == 0 and jump % prime == 0:
            part, less = len(ends) // prime, jump // prime
            fewer = Periodic(ends[:part], less)
            if any([fewer.unit(n) != end for n, end in enumerate(ends)]):
                break
            ends, jump = fewer
    return Periodic(ends, jump)


def _primes(number: int) -> list[int]:
    """Return the primes that divide a number."""
    found, prime = [], 2
    while prime * prime <= number:
        if number % prime == 0:
            found.append(prime)
            while number % prime == 0:
                number //= prime
        prime += 1
    return [*found, number] if number > 1 else found


def together(ways: Sequence[Periodic], units: int) -> tuple[Periodic, ...]:
    """Return what a unit sees along several ways; ways with the same jump are merged.

    Ways with different jumps never meet again and are kept separately. If there are too
    many, or a period is too long, the units that exist become a table. It is exact for
    these; beyond them it is extrapolated.

    Args:
        ways: what the units see along each of them.
        units: number of units.
    """
    found: dict[tuple[int, int], Periodic] = {}
    for way in ways:
        pace = _pace(way)
        if pace in found and found[pace] != way:
            way = _joined(found[pace], way, units)
        found[pace] = way
    joined = tuple(found.values())
    longest = max([len(way.ends) for way in joined])
    if len(joined) > MOST_WAYS or _too_long(longest, units):
        return (_table(joined, units),)
    return joined


def _too_long(period: int, units: int) -> bool:
    return period > max(MOST_PHASES, units)


def _pace(way: Periodic) -> tuple[int, int]:
    """Return the jump of a unit, as a reduced fraction."""
    common = gcd(way.jump, len(way.ends))
    return way.jump // common, len(way.ends) // common


def _joined(one: Periodic, other: Periodic, units: int) -> Periodic:
    period = lcm(len(one.ends), len(other.ends))
    if _too_long(period, units):
        return _table((one, other), units)
    ends = [hull((one.unit(n), other.unit(n))) for n in range(period)]
    return shortest(Periodic(tuple(ends), period // len(one.ends) * one.jump))


def _table(ways: Sequence[Periodic], units: int) -> Periodic:
    """Return what each unit sees, with the number of units as the period."""
    ends = [hull([way.unit(n) for way in ways]) for n in range(units)]
    jump = max([-(-way.jump * units // len(way.ends)) for way in ways])
    return shortest(Periodic(tuple(ends), jump))


def limits(ways: Sequence[Periodic], units: int) -> Ends:
    """Return the first and the last position that any of some units sees."""
    seen = []
    for way in ways:
        period = min(len(way.ends), units)
        seen += [way.unit(n) for n in range(period)]
        seen += [way.unit(units - 1 - n) for n in range(period)]
    return hull(seen)
