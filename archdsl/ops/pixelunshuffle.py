"""Shrinking by moving positions to channels."""

from __future__ import annotations

from collections.abc import Sequence

from archdsl.layer import Layer, Mismatch, arg, need_map
from archdsl.values import Shape, TorchCall, TorchForm, Window, sliding


class PixelUnshuffle(Layer):
    """Gather r x r positions as channels of one: `pixelunshuffle 2`.

    It undoes `pixelshuffle`, and is also known as space to depth.

    Source: Shi et al. 2016, section 2.2, the other way round.
    """

    word = "pixelunshuffle"
    also = ("spacetodepth",)
    family = "reshape"
    sign = "kept"
    scatters = True

    factor: int = arg(
        "int", at=0, minimum=1, help="factor of reduction along each axis"
    )

    def shape(self, *inputs: Shape) -> Shape:
        """Return (channels x r^2, height / r, width / r)."""
        channels, height, width = need_map(inputs[0], self.word, axes=2)
        if height % self.factor or width % self.factor:
            raise Mismatch(
                f"pixelunshuffle: {int(height)}x{int(width)} does not divide into "
                f"squares of {int(self.factor)}x{int(self.factor)}",
                help="pad or resize its input",
            )
        area = self.factor * self.factor
        return (channels * area, height // self.factor, width // self.factor)

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window:
        """Return the window of the positions gathered, for all channels together."""
        both = (self.factor, self.factor)
        return sliding(both, both)

    def channels_read(
        self, some: Sequence[int], inputs: tuple[Shape, ...], output: Shape
    ) -> tuple[Sequence[int], ...]:
        """Return the channels that they are part of."""
        area = self.factor * self.factor
        return (sorted({c // area for c in some}),)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.PixelUnshuffle`."""
        return TorchForm(
            TorchCall("nn.PixelUnshuffle", (self.factor,)),
            "F.pixel_unshuffle({0})",
            (("downscale_factor", self.factor),),
        )

    def label(self) -> str:
        """Return `pixelunshuffle 2`."""
        return f"{self.word} {self.factor}"
