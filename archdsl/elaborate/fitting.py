"""Input sizes close to the given one at which branches have the same size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from archdsl.values import Shape, show_shape

# How far from the given size others are tried, along each axis.
REACH: Final = 64
# Steps of work for all of them together, about half a second.
MOST_STEPS: Final = 50_000

Fits = Callable[[Shape], bool]


def fitting_sizes(given: Shape, fits: Fits) -> str:
    """Return a hint with sizes near the given one that fit; empty if none is found.

    Squares are tried first, as layers treat both axes equally. Every size in the hint
    has been tried.

    Args:
        given: shape of the input.
        fits: whether the network accepts an input shape.
    """
    if len(given) != 3:
        return ""
    channels, height, width = given

    def square(n: int) -> bool:
        return fits((channels, n, n))

    rows = _nearest(height, square)
    columns = rows if width == height else _nearest(width, square)
    if not (rows[1] and columns[1]):
        return ""  # what fits small maps alone is no advice
    shapes = [
        (channels, high, wide)
        for high, wide in zip(rows, columns, strict=True)
        if high and wide and fits((channels, high, wide))
    ]
    if not shapes:
        return ""
    shown = " and ".join(show_shape(shape) for shape in shapes)
    step = rows[1] - rows[0] if rows[0] else 1
    multiples = rows[1] + step, rows[1] + 2 * step
    if step > 1 and not rows[0] % step and all(map(square, multiples)):
        return f"heights and widths that are multiples of {step} fit, such as {shown}"
    return f"inputs of {shown} fit" if len(shapes) > 1 else f"an input of {shown} fits"


def _nearest(size: int, fits: Callable[[int], bool]) -> tuple[int, int]:
    """Return the next smaller and next larger size that fit; 0 if too far away."""
    below = range(size - 1, max(0, size - REACH - 1), -1)
    above = range(size + 1, size + REACH + 1)
    return next(filter(fits, below), 0), next(filter(fits, above), 0)
