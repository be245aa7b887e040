"""Max pooling."""

from __future__ import annotations

from archdsl.layer import Layer, Mismatch, arg, count, given, need_map, slide
from archdsl.values import Saved, Shape, TorchCall, TorchForm, Window, show_shape


class MaxPool(Layer):
    """Max pooling over a sliding window: `maxpool 3x3 /2 pad=1`.

    Without a stride, windows do not overlap. With `ceil`, a last window that
    reaches beyond the padded input still counts.
    """

    word = "maxpool"
    family = "pool"
    sign = "kept"
    maximum = True
    of_any_size = "adaptivemaxpool"

    kernel: tuple[int, int] = arg("window", at=0, minimum=1, help="window size, as 2x2")
    stride: tuple[int, int] | None = arg(
        "window",
        None,
        at="/",
        minimum=1,
        help="stride; the window's size when left out",
    )
    pad: tuple[int, int] = arg("window", (0, 0), minimum=0, help="padding on each side")
    dilation: tuple[int, int] = arg(
        "window", (1, 1), minimum=1, help="distance between taps"
    )
    ceil: bool = arg("bool", False, help="round the output size up")

    @property
    def steps(self) -> tuple[int, int]:
        """The stride in force, per axis."""
        return self.kernel if self.stride is None else self.stride

    def shape(self, *inputs: Shape) -> Shape:
        """Return (channels, height', width')."""
        channels, *sizes = need_map(inputs[0], self.word)
        taps = list(zip(self.kernel, self.dilation, strict=True))
        for pad, kernel in zip(self.pad, self.kernel, strict=True):
            if 2 * pad > kernel:
                raise Mismatch(
                    f"maxpool: padding {pad} is more than half the window of {kernel}",
                    label="torch refuses such padding",
                    help=f"use pad={kernel // 2} or less",
                )
        spatial = (
            slide("maxpool", n, k, s, (p, p), d, self.ceil)
            for n, (k, d), s, p in zip(sizes, taps, self.steps, self.pad, strict=True)
        )
        return (channels, *spatial)

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return one comparison less than the window's area, each."""
        return (count(self.kernel) - 1) * count(output)

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window:
        """Return the pooling window."""
        return Window(self.kernel, self.steps, self.pad, self.dilation)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the input, and the winner of each window as a 64-bit index."""
        return Saved(input=True, own_bytes=8 * count(output), what="indices")

    def passes(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return whether every window is a single position."""
        return self.kernel == self.steps == (1, 1) and self.pad == (0, 0)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.MaxPool2d`."""
        kwargs = given(
            ("kernel_size", self.kernel, None),
            ("stride", self.steps, self.kernel),
            ("padding", self.pad, (0, 0)),
            ("dilation", self.dilation, (1, 1)),
            ("ceil_mode", self.ceil, False),
        )
        return TorchForm(
            TorchCall("nn.MaxPool2d", (), kwargs), "F.max_pool2d({0})", kwargs
        )

    def label(self) -> str:
        """Return `maxpool 3x3 /2`."""
        stride = self.steps[0] if len(set(self.steps)) == 1 else show_shape(self.steps)
        return f"maxpool {show_shape(self.kernel)} /{stride}"
