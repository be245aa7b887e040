"""Resizing to the size of another map."""

from __future__ import annotations

from archdsl.layer import (
    LINEAR,
    Layer,
    Mismatch,
    arg,
    given,
    interpolated,
    interpolation,
    need_map,
    need_mode,
)
from archdsl.values import Shape, TorchForm, Window


class Resize(Layer):
    """Resize a map to the height and width of another: `resize { | @skip }`.

    The first branch is resized, by default the input itself; of the second, only the
    size is read. `mode` and `align` are those of `upsample`, so that maps with one or
    three axes need `mode=linear` or `mode=trilinear`.

    Source: Long et al. 2015, section 3.3, for the bilinear case.
    """

    word = "resize"
    family = "reshape"
    arity = None
    sources = 1
    sign = "kept"

    mode: str = arg(
        "choice",
        "bilinear",
        choices=("nearest", *LINEAR.values()),
        help="interpolation",
    )
    align: bool = arg(
        "bool",
        False,
        help="align the corners of input and output, as torch's `align_corners`",
    )

    def shape(self, *inputs: Shape) -> Shape:
        """Return (channels of the first, sizes of the second)."""
        if len(inputs) > 2:
            raise Mismatch(
                f"resize takes two branches, not {len(inputs)}",
                help="the first one is resized to the size of the second",
            )
        channels, *sizes = need_map(inputs[0], self.word)
        _, *wanted = need_map(inputs[1], self.word, axes=len(sizes))
        need_mode(self.word, inputs[0], self.mode, align=self.align)
        return (channels, *wanted)

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return the products and sums of each output, if interpolated."""
        return interpolated(output, self.mode)

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window:
        """Return the window of the units that mix: one, or two if interpolated."""
        linear = self.mode != "nearest"
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
