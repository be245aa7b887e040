"""Zeros around a map."""

from __future__ import annotations

from archdsl.padding import SIDES, Padding
from archdsl.values import (
    Shape,
    TorchCall,
    TorchForm,
    Window,
    ones,
    ranked,
    sliding,
)


class ZeroPad(Padding):
    """Add zeros at any side of a map: `zeropad right=1 bottom=1`.

    To pad all sides alike, use the `pad` of a convolution or pool. `zeropad left=2`
    before a convolution over time makes it causal: no output sees what comes later.
    """

    word = "zeropad"
    also = ("zeropadding",)
    family = "reshape"
    sign = "kept"

    def shape(self, *inputs: Shape) -> Shape:
        """Return the channels, and the size along each axis with its padding."""
        channels, *sizes = inputs[0]
        pairs = zip(sizes, self.ends(inputs[0]), strict=True)
        return (channels, *(n + before + after for n, (before, after) in pairs))

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window:
        """Return a single position, shifted by the padding."""
        before = tuple([first for first, _ in self.ends(inputs[0])])
        return sliding(ones(len(before)), pad=before)

    def passes(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return whether there are no zeros to add."""
        return inputs == (output,)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.ZeroPad2d`, or that for other axes."""
        names = SIDES[: 2 * (len(output) - 1)]
        sides = tuple([getattr(self, name) for name in names])
        written = ", ".join([f"{{{name}}}" for name in names])
        return TorchForm(
            TorchCall(ranked("nn.ZeroPad", output), (sides,)),
            f"F.pad({{0}}, ({written}))",
            tuple(zip(names, sides, strict=True)),
        )

    def label(self) -> str:
        """Return `zeropad 0 1 0 1`, the sides as torch orders them."""
        sides = [getattr(self, name) for name in SIDES]
        while len(sides) > 4 and not any(sides[-2:]):
            del sides[-2:]
        return " ".join([self.word, *(str(int(n)) for n in sides)])
