"""What padding has in common: the sides of a map, and how it is continued beyond
them."""

from __future__ import annotations

from typing import Final

from .layer import Layer, Mismatch, arg, need_map
from .values import Shape, show_shape

# The sides as torch orders them, the last axis first.
SIDES: Final = ("left", "right", "top", "bottom", "front", "back")
# Fields are followed through a border position by position.
_MOST: Final = 1 << 18
# What some modes do with a map's positions, and how many of them they cannot take.
_LACKING: Final = {"reflect": ("reflect", 1), "circular": ("repeat", 0)}

PadWidths = tuple[tuple[int, int], ...]


class Padding(Layer):
    """Base of the kinds that pad, with a number for each side."""

    left: int = arg("int", 0, minimum=0, help="columns before the first")
    right: int = arg("int", 0, minimum=0, help="columns after the last")
    top: int = arg("int", 0, minimum=0, help="rows before the first")
    bottom: int = arg("int", 0, minimum=0, help="rows after the last")
    front: int = arg("int", 0, minimum=0, help="slices before the first")
    back: int = arg("int", 0, minimum=0, help="slices after the last")

    def ends(self, shape: Shape) -> PadWidths:
        """Return what is added before and after along each axis of a map.

        Raises:
            Mismatch: if it is not a map, or a side is given that the map does not have.
        """
        axes = len(need_map(shape, self.word)) - 1
        every = (
            (self.front, self.back),
            (self.top, self.bottom),
            (self.left, self.right),
        )
        if any(map(any, every[:-axes])):
            sides = "`left` and `right`"
            if axes == 2:
                sides = "`left`, `right`, `top` and `bottom`"
            raise Mismatch(
                f"{self.word}: its input is {show_shape(shape)}, which only has the "
                f"sides {sides}",
                help="leave the other sides out",
            )
        return every[-axes:]


def need_room(
    word: str, mode: str, shape: Shape, ends: PadWidths, taps: int = 1
) -> None:
    """Refuse a map that is too small to be continued that far.

    Args:
        word: the word of the layer kind.
        mode: how the map goes on.
        shape: the shape of the map.
        ends: how many positions beyond it are read along each axis.
        taps: how often each is read.

    Raises:
        Mismatch: if it has fewer positions, or the figures would take too long.
    """
    widest = tuple([max(pair) for pair in ends])
    if mode in _LACKING:
        verb, lacking = _LACKING[mode]
        if any(n > size - lacking for n, size in zip(widest, shape[1:], strict=True)):
            raise Mismatch(
                f"{word}: {show_shape(shape)} has fewer than {show_shape(widest)} "
                f"positions behind its border to {verb}",
                help=f"{verb} fewer positions, or use `replicate`",
            )
    for size, (before, after) in zip(shape[1:], ends, strict=True):
        whole = (size + before + after) * taps
        if whole > _MOST:
            raise Mismatch(
                f"{word}: {whole:,} positions along an axis exceed {_MOST:,}",
                help="the receptive field of each is computed one by one; use zeros",
                code="A0903",
            )
