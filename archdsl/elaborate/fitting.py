"""Input sizes close to the given one at which branches have the same size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from archdsl.values import Shape, is_map, show_shape

# How far from the given size others are tried, along each axis.
REACH: Final = 64
# Steps of work for all of them together, about half a second.
MOST_STEPS: Final = 50_000

ShapeTest = Callable[[Shape], bool]


def fitting_sizes(given: Shape, fits: ShapeTest) -> str:
    """Return a hint with sizes near the given one that fit; empty if none is found.

    Squares are tried first, as layers treat both axes equally. Every size in the hint
    has been tried.

    Args:
        given: shape of the input.
        fits: whether the network accepts an input shape.
    """
    if not is_map(given):
        return ""
    channels, *extent = given

    def at(own: int) -> Callable[[int], bool]:
        """Return whether a size fits in place of one of those given."""
        # The frames of a video are as unlike its height as its channels are.
        apart = len(extent) > 2

        def fit(n: int) -> bool:
            tried = [size if apart and size != own else n for size in extent]
            return fits((channels, *tried))

        return fit

    near = {own: _nearest(own, at(own)) for own in dict.fromkeys(extent)}
    along = [near[own] for own in extent]
    if not all(above for _, above in along):
        return ""  # only smaller sizes fit, which is not worth suggesting
    shapes = [
        (channels, *found)
        for found in zip(*along, strict=True)
        if all(found) and fits((channels, *found))
    ]
    if not shapes:
        return ""
    shown = " and ".join(show_shape(shape) for shape in shapes)
    below, above = along[0]
    step = above - below if below else 1
    multiples = above + step, above + 2 * step
    if step > 1 and not below % step and all(map(at(extent[0]), multiples)):
        words = {1: "lengths", 2: "heights and widths"}
        if len(extent) in words:
            what = words[len(extent)]
            return f"{what} that are multiples of {step} fit, such as {shown}"
    return f"inputs of {shown} fit" if len(shapes) > 1 else f"an input of {shown} fits"


def _nearest(size: int, fits: Callable[[int], bool]) -> tuple[int, int]:
    """Return the next smaller and next larger size that fit; 0 if too far away."""
    below = range(size - 1, max(0, size - REACH - 1), -1)
    above = range(size + 1, size + REACH + 1)
    return next(filter(fits, below), 0), next(filter(fits, above), 0)
