"""Enlarging by moving channels to positions."""

from __future__ import annotations

from collections.abc import Sequence

from archdsl.layer import Layer, Mismatch, arg, need_map
from archdsl.values import Shape, TorchCall, TorchForm, Window, sliding


class PixelShuffle(Layer):
    """Spread the channels over r x r positions each: `pixelshuffle 2`.

    Channel c * r^2 + i * r + j at (y, x) moves to channel c at (y * r + i, x * r + j).

    Source: Shi et al. 2016, section 2.2.
    """

    word = "pixelshuffle"
    also = ("depthtospace",)
    family = "reshape"
    sign = "kept"
    scatters = True

    factor: int = arg(
        "int", at=0, minimum=1, help="factor of enlargement along each axis"
    )

    def shape(self, *inputs: Shape) -> Shape:
        """Return (channels / r^2, height x r, width x r)."""
        channels, height, width = need_map(inputs[0], self.word, axes=2)
        area = self.factor * self.factor
        if channels % area:
            raise Mismatch(
                f"pixelshuffle: {int(channels)} channels do not divide into groups of "
                f"{int(area)}",
                help=f"give it a multiple of {int(area)} channels",
                code="A0304",
            )
        return (channels // area, height * self.factor, width * self.factor)

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window:
        """Return the window of the one unit that a position comes from."""
        both = (self.factor, self.factor)
        back = (self.factor - 1, self.factor - 1)
        return sliding(both, pad=back, up=both)

    def channels_read(
        self, some: Sequence[int], inputs: tuple[Shape, ...], output: Shape
    ) -> tuple[Sequence[int], ...]:
        """Return the channels that each is assembled from."""
        area = self.factor * self.factor
        return ([c * area + n for c in some for n in range(area)],)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.PixelShuffle`."""
        return TorchForm(
            TorchCall("nn.PixelShuffle", (self.factor,)),
            "F.pixel_shuffle({0})",
            (("upscale_factor", self.factor),),
        )

    def label(self) -> str:
        """Return `pixelshuffle 2`."""
        return f"{self.word} {self.factor}"
