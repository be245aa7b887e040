"""Average pooling."""

from __future__ import annotations

from archdsl.layer import Layer, Mismatch, arg, count, given, need_axes, output_size
from archdsl.values import (
    Saved,
    Shape,
    TorchCall,
    TorchForm,
    Window,
    ones,
    ranked,
    show_shape,
    sliding,
    zeros,
)


class AvgPool(Layer):
    """Average pooling over a sliding window: `avgpool 3x3 /2 pad=1`.

    Without a stride, windows do not overlap. With `ceil`, a last window that
    reaches beyond the padded input still counts.
    `count_pad=false` leaves padding out of the averages.
    """

    word = "avgpool"
    also = ("averagepool", "averagepooling", "avgpooling", "meanpool")
    family = "pool"
    sign = "kept"
    of_any_size = "adaptiveavgpool"

    kernel: tuple[int, ...] = arg("window", at=0, minimum=1, help="window size, as 2x2")
    stride: tuple[int, ...] | None = arg(
        "window",
        None,
        at="/",
        minimum=1,
        help="stride; by default, the window's size",
    )
    pad: tuple[int, ...] = arg("window", (0, 0), minimum=0, help="padding on each side")
    ceil: bool = arg("bool", False, help="round the output size up")
    count_pad: bool = arg(
        "bool", True, help="whether the average counts the zeros of the padding"
    )

    @property
    def steps(self) -> tuple[int, ...]:
        """The stride in force, per axis."""
        return self.kernel if self.stride is None else self.stride

    def shape(self, *inputs: Shape) -> Shape:
        """Return the channels, and the size along each axis."""
        channels, *sizes = need_axes(inputs[0], self)
        for pad, kernel in zip(self.pad, self.kernel, strict=True):
            if 2 * pad > kernel:
                raise Mismatch(
                    f"avgpool: padding {pad} is more than half the window of {kernel}",
                    label="torch refuses such padding",
                    help=f"use pad={kernel // 2} or less",
                )
        small = [(n, k) for n, k in zip(sizes, self.kernel, strict=True) if n < k]
        if len(sizes) == 3 and small:
            size, kernel = small[0]
            raise Mismatch(
                f"avgpool: the window of {kernel} is larger than the map of {size}",
                label=f"the input is {show_shape(inputs[0])}",
                help="torch averages volumes only over windows that fit without "
                "padding",
            )
        spatial = (
            output_size("avgpool", n, k, s, (p, p), 1, self.ceil)
            for n, k, s, p in zip(sizes, self.kernel, self.steps, self.pad, strict=True)
        )
        return (channels, *spatial)

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return the window's additions and one division, per output."""
        return count(self.kernel) * count(output)

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window:
        """Return the pooling window."""
        return sliding(self.kernel, self.steps, self.pad)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the input."""
        return Saved(input=True)

    def passes(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return whether every window is a single position."""
        axes = len(self.kernel)
        return self.kernel == self.steps == ones(axes) and self.pad == zeros(axes)

    def is_view(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return whether it has one axis, as torch then pools over two of them."""
        return len(output) == 2

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.AvgPool2d`, or that for other axes."""
        kwargs = given(
            ("kernel_size", self.kernel, None),
            ("stride", self.steps, self.kernel),
            ("padding", self.pad, zeros(len(self.pad))),
            ("ceil_mode", self.ceil, False),
            ("count_include_pad", self.count_pad, True),
        )
        return TorchForm(
            TorchCall(ranked("nn.AvgPool", output), (), kwargs),
            ranked("F.avg_pool", output) + "({0})",
            kwargs,
        )

    def label(self) -> str:
        """Return `avgpool 3x3 /2`."""
        stride = self.steps[0] if len(set(self.steps)) == 1 else show_shape(self.steps)
        return f"avgpool {show_shape(self.kernel)} /{stride}"
