"""Enlarging by repetition or interpolation."""

from __future__ import annotations

from ..layer import Layer, arg, given, need_map
from ..values import Shape, TorchCall, TorchForm, Window


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

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window:
        """Return a bound: the unit or, when interpolating, the two that mix in."""
        taps = 1 if self.mode == "nearest" else 2
        return Window((taps, taps), up=self.scale, exact=False)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.Upsample`."""
        kwargs = given(
            ("scale_factor", self.scale, None), ("mode", self.mode, "nearest")
        )
        return TorchForm(
            TorchCall("nn.Upsample", (), kwargs), "F.interpolate({0})", kwargs
        )
