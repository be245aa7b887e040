"""Enlarging by repetition or interpolation."""

from __future__ import annotations

from archdsl.layer import Layer, arg, count, given, need_map
from archdsl.values import Shape, TorchCall, TorchForm, Window


class Upsample(Layer):
    """Enlarge height and width by whole factors: `upsample 2x2`.

    `mode=bilinear` interpolates, with pixel centres aligned as in torch's
    `align_corners=False`.
    """

    word = "upsample"
    family = "reshape"

    scale: tuple[int, int] = arg(
        "window", (2, 2), at=0, minimum=1, help="factors, as 2x2"
    )
    mode: str = arg(
        "choice", "nearest", choices=("nearest", "bilinear"), help="interpolation"
    )

    def shape(self, *inputs: Shape) -> Shape:
        """Return (channels, height x factor, width x factor)."""
        channels, height, width = need_map(inputs[0], self.word)
        return (channels, height * self.scale[0], width * self.scale[1])

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return four products and three sums each, if interpolated."""
        return 7 * count(output) if self.mode == "bilinear" else 0

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window:
        """Return the window of the one unit, or two if interpolated, that mix in."""
        kernel: tuple[int, ...] = self.scale
        pad = tuple(u - 1 for u in self.scale)
        if self.mode == "bilinear":
            # Unit i mixes in where |(o + 1/2) / u - 1/2 - i| < 1.
            pad = tuple((3 * u - 2) // 2 for u in self.scale)
            kernel = tuple(p + u // 2 + 1 for p, u in zip(pad, self.scale, strict=True))
        return Window(kernel, pad=pad, up=self.scale, exact=max(self.scale) == 1)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.Upsample`."""
        kwargs = given(
            ("scale_factor", self.scale, None), ("mode", self.mode, "nearest")
        )
        return TorchForm(
            TorchCall("nn.Upsample", (), kwargs), "F.interpolate({0})", kwargs
        )
