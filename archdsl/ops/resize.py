"""Resizing to the size of another map."""

from __future__ import annotations

from archdsl.layer import Layer, Mismatch, arg, count, given, interpolation, need_map
from archdsl.values import Shape, TorchForm, Window


class Resize(Layer):
    """Resize a map to the height and width of another: `resize { | @skip }`.

    The first branch is resized, by default the input itself; of the second, only the
    size is read. `mode` and `align` are those of `upsample`.

    Source: Long et al. 2015, section 3.3, for the bilinear case.
    """

    word = "resize"
    family = "reshape"
    arity = None
    sources = 1
    sign = "kept"

    mode: str = arg(
        "choice", "bilinear", choices=("nearest", "bilinear"), help="interpolation"
    )
    align: bool = arg("bool", False, help="whether corners keep their place")

    def shape(self, *inputs: Shape) -> Shape:
        """Return (channels of the first, height and width of the second)."""
        if len(inputs) > 2:
            raise Mismatch(
                f"resize takes two branches, not {len(inputs)}",
                help="the first one is resized to the size of the second",
            )
        if self.align and self.mode == "nearest":
            raise Mismatch(
                "resize: `align` has no meaning without interpolation",
                help="use `mode=bilinear`, or leave `align` out",
            )
        channels, _, _ = need_map(inputs[0], self.word)
        _, height, width = need_map(inputs[1], self.word)
        return (channels, height, width)

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return four products and three sums per output, if interpolated."""
        return 7 * count(output) if self.mode == "bilinear" else 0

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window:
        """Return the window of the units that mix: one, or two if interpolated."""
        linear = self.mode == "bilinear"
        return interpolation(inputs[0], output, linear=linear, align=self.align)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `F.interpolate` to the size of the second input."""
        kwargs = given(
            ("mode", self.mode, "nearest"), ("align_corners", self.align, False)
        )
        options = "".join(f", {name}={{{name}}}" for name, _ in kwargs)
        return TorchForm(
            None, f"F.interpolate({{0}}, size={{1}}.shape[2:]{options})", kwargs
        )

    def label(self) -> str:
        """Return `resize bilinear`."""
        return f"resize {self.mode}"
