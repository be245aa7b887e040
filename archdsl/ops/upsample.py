"""Enlarging by repetition or interpolation."""

from __future__ import annotations

from archdsl.layer import (
    LINEAR,
    Layer,
    Mismatch,
    arg,
    given,
    interpolated,
    interpolation,
    need_axes,
    need_mode,
)
from archdsl.values import Shape, TorchCall, TorchForm, Window, show_shape


class Upsample(Layer):
    """Enlarge height and width by whole factors: `upsample 2x2`.

    `upsample size=28x28` resizes to a given size instead; `resize` takes the size of
    another layer. `mode=bilinear` interpolates between pixel centres, or with
    `align=true` between corners that keep their place. On maps with one or three axes
    that mode is called `linear` or `trilinear`, and factors are always written.
    """

    word = "upsample"
    also = ("upsampling", "interpolate", "unpool")
    family = "reshape"
    sign = "kept"

    scale: tuple[int, ...] | None = arg(
        "window",
        None,
        at=0,
        minimum=1,
        help="factors; 2x2 if neither factors nor a size are given",
    )
    size: tuple[int, ...] | None = arg(
        "window", None, minimum=1, help="output size instead of factors"
    )
    mode: str = arg(
        "choice",
        "nearest",
        choices=("nearest", *LINEAR.values()),
        help="interpolation",
    )
    align: bool = arg(
        "bool",
        False,
        help="align the corners of input and output, as torch's `align_corners`",
    )

    @property
    def factors(self) -> tuple[int, ...]:
        """The factors in force, where no size is given."""
        return (2, 2) if self.scale is None else self.scale

    def shape(self, *inputs: Shape) -> Shape:
        """Return the channels, and each size times its factor, or the size given."""
        channels, *given = need_axes(inputs[0], self)
        need_mode(self.word, inputs[0], self.mode, align=self.align)
        if self.size is None:
            if len(self.factors) != len(given):
                twice = show_shape((2,) * len(given))
                raise Mismatch(
                    "upsample: neither factors nor a size are given",
                    help=f"write `upsample {twice}`",
                )
            pairs = zip(given, self.factors, strict=True)
            return (channels, *(n * factor for n, factor in pairs))
        if self.scale is not None:
            raise Mismatch(
                "upsample: factors and a size are given",
                help="leave one of them out",
            )
        return (channels, *self.size)

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return the products and sums of each output, if interpolated."""
        return interpolated(output, self.mode)

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window:
        """Return the window of the units that mix: one, or two if interpolated."""
        linear = self.mode != "nearest"
        return interpolation(inputs[0], output, linear=linear, align=self.align)

    def passes(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return whether the size stays the same."""
        return inputs == (output,)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.Upsample`."""
        kwargs = given(
            ("size", self.size, None),
            ("scale_factor", self.factors if self.size is None else None, None),
            ("mode", self.mode, "nearest"),
            ("align_corners", self.align, False),
        )
        return TorchForm(
            TorchCall("nn.Upsample", (), kwargs), "F.interpolate({0})", kwargs
        )

    def label(self) -> str:
        """Return `upsample 2x2`."""
        return f"upsample {show_shape(self.size or self.factors)}"
