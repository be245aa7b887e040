"""Padding of a map by its own values."""

from __future__ import annotations

from typing import Final

from archdsl.layer import arg, count, need_axes
from archdsl.padding import SIDES, Padding, PadWidths, need_room
from archdsl.symbolic import is_symbolic
from archdsl.values import (
    CONTINUED,
    Saved,
    Scratch,
    Shape,
    TorchCall,
    TorchForm,
    Window,
    ones,
    ranked,
    show_shape,
    sliding,
)

_CLASSES: Final = {
    "reflect": "nn.ReflectionPad",
    "replicate": "nn.ReplicationPad",
    "circular": "nn.CircularPad",
}
# What the sizes are called in the function, the last axis first.
_NAMES: Final = ("columns", "rows", "slices")


class Pad(Padding):
    """Continue a map beyond its border: `pad 3x3 reflect`.

    `reflect` mirrors it at the border, whose positions are not repeated; `replicate`
    repeats them; `circular` continues with the opposite end, as around a globe. Sides
    add to the size: `pad 0x0 reflect right=1 bottom=1`. A convolution after it needs
    `pad=0`; or let the convolution pad by itself, with `pad_mode`. For zeros, use the
    `pad` of a convolution, or `zeropad`.

    Source: for `reflect`, Zhu et al. 2017, "Unpaired image-to-image translation using
    cycle-consistent adversarial networks", section 7.2.
    """

    word = "pad"
    also = (
        *("padding", "reflectionpad", "replicationpad", "reflectpad", "mirrorpad"),
        "circularpad",
    )
    sign = "kept"

    size: tuple[int, ...] = arg(
        "window", at=0, minimum=0, help="positions on each side, as 3x3"
    )
    mode: str = arg(
        "choice", at=1, choices=(*CONTINUED,), help="how the map is continued there"
    )

    def ends(self, shape: Shape) -> PadWidths:
        """Return what is added before and after along each axis of a map."""
        pairs = zip(self.size, super().ends(need_axes(shape, self)), strict=True)
        return tuple([(n + before, n + after) for n, (before, after) in pairs])

    def shape(self, *inputs: Shape) -> Shape:
        """Return the channels, and the size along each axis with both sides."""
        channels, *sizes = need_axes(inputs[0], self)
        ends = self.ends(inputs[0])
        need_room(self.word, self.mode, inputs[0], ends)
        return (channels, *(n + sum(pair) for n, pair in zip(sizes, ends, strict=True)))

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window:
        """Return a single position, shifted by the padding."""
        before = tuple([first for first, _ in self.ends(inputs[0])])
        return CONTINUED[self.mode](*sliding(ones(len(before)), pad=before))

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the input, which torch keeps for its size."""
        return Saved(input=self.mode != "circular")

    def passes(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return whether there is nothing to add."""
        return inputs == (output,)

    def scratch(
        self, inputs: tuple[Shape, ...], output: Shape, gradients: tuple[bool, ...]
    ) -> Scratch:
        """Return two copies of the gradient, if the map goes round."""
        if self.mode != "circular":
            return Scratch()
        return Scratch(backward=2 * count(output) - count(inputs[0]))

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.ReflectionPad2d` or the like."""
        sides = tuple([n for pair in reversed(self.ends(inputs[0])) for n in pair])
        if any(is_symbolic(n) or n for n in (getattr(self, name) for name in SIDES)):
            named = list(zip(SIDES, sides, strict=False))
            written = ", ".join([f"{{{name}}}" for name, _ in named])
        else:
            named = list(zip(_NAMES, reversed(self.size), strict=False))
            written = ", ".join([f"{{{name}}}, {{{name}}}" for name, _ in named])
        return TorchForm(
            TorchCall(ranked(_CLASSES[self.mode], output), (sides,)),
            f'F.pad({{0}}, ({written}), mode="{self.mode}")',
            tuple(named),
        )

    def label(self) -> str:
        """Return `pad 3x3 reflect`."""
        text = f"{self.word} {show_shape(self.size)} {self.mode}"
        more = [(name, getattr(self, name)) for name in SIDES]
        return text + "".join([f" {name}={int(n)}" for name, n in more if n])
