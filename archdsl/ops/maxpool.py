"""Max pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from archdsl.layer import (
    Layer,
    Mismatch,
    arg,
    count,
    given,
    need_axes,
    output_size,
    same_pads,
)
from archdsl.values import (
    Inner,
    Saved,
    Scratch,
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

# How the class pads, by the number of axes.
_PADS: Final = {
    1: """\
        k, s, d = self.kernel, self.stride, self.dilation
        more = self.missing(x.shape[-1], k[0], s[0], d[0])
        sides = (more // 2, more - more // 2)
""",
    2: """\
        height, width = x.shape[-2:]
        k, s, d = self.kernel, self.stride, self.dilation
        rows = self.missing(height, k[0], s[0], d[0])
        columns = self.missing(width, k[1], s[1], d[1])
        top, left = rows // 2, columns // 2
        sides = (left, columns - left, top, rows - top)
""",
    3: """\
        depth, height, width = x.shape[-3:]
        k, s, d = self.kernel, self.stride, self.dilation
        slices = self.missing(depth, k[0], s[0], d[0])
        rows = self.missing(height, k[1], s[1], d[1])
        columns = self.missing(width, k[2], s[2], d[2])
        front, top, left = slices // 2, rows // 2, columns // 2
        sides = (left, columns - left, top, rows - top, front, slices - front)
""",
}
_HELPER: Final = '''
class SameMaxPool{axes}d(nn.Module):
    """Max pooling with size / stride outputs, rounded up; padding never wins."""

    def __init__(
        self, kernel: list[int], stride: list[int], dilation: list[int]
    ) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride
        self.dilation = dilation

    def forward(self, x: Tensor) -> Tensor:
{pads}        x = F.pad(x, sides, value=-float("inf"))
        return F.max_pool{axes}d(x, k, s, 0, d)

    def missing(self, size: int, kernel: int, stride: int, dilation: int) -> int:
        reach = dilation * (kernel - 1)
        missing = reach - (size - 1) % stride
        # Windows that do not touch skip the positions between them.
        return missing if reach + 1 >= stride else max(missing, 0)
'''


class MaxPool(Layer):
    """Max pooling over a sliding window: `maxpool 3x3 /2 pad=1`.

    Without a stride, windows do not overlap. With `ceil`, a last window that
    reaches beyond the padded input still counts. The padding is minus infinity, so it
    is never the maximum. `pad=same` pads as TensorFlow does: enough for size / stride
    outputs, rounded up; if the padding is odd, the end gets one more than the start.
    """

    word = "maxpool"
    also = ("maxpooling",)
    family = "pool"
    sign = "kept"
    maximum = True
    of_any_size = "adaptivemaxpool"

    kernel: tuple[int, ...] = arg("window", at=0, minimum=1, help="window size, as 2x2")
    stride: tuple[int, ...] | None = arg(
        "window",
        None,
        at="/",
        minimum=1,
        help="stride; by default, the window's size",
    )
    pad: tuple[int, ...] | str = arg(
        "window",
        (0, 0),
        minimum=0,
        choices=("same",),
        help="padding on each side; `same` pads to ceil(size / stride) outputs",
    )
    dilation: tuple[int, ...] = arg(
        "window", (1, 1), minimum=1, help="distance between taps"
    )
    ceil: bool = arg("bool", False, help="round the output size up")

    @property
    def steps(self) -> tuple[int, ...]:
        """The stride in force, per axis."""
        return self.kernel if self.stride is None else self.stride

    def pads(self, sizes: Sequence[int]) -> list[tuple[int, int]]:
        """Return the padding before and after the map, for each of its axes."""
        if not isinstance(self.pad, str):
            return [(pad, pad) for pad in self.pad]
        axes = zip(sizes, self.kernel, self.steps, self.dilation, strict=True)
        return [same_pads(*axis) for axis in axes]

    def shape(self, *inputs: Shape) -> Shape:
        """Return the channels, and the size along each axis."""
        channels, *sizes = need_axes(inputs[0], self)
        taps = list(zip(self.kernel, self.dilation, strict=True))
        pads = self.pads(sizes)
        if not isinstance(self.pad, str):
            for (pad, _), kernel in zip(pads, self.kernel, strict=True):
                _need_half(pad, kernel)
        spatial = (
            output_size("maxpool", n, k, s, p, d, self.ceil)
            for n, (k, d), s, p in zip(sizes, taps, self.steps, pads, strict=True)
        )
        return (channels, *spatial)

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return one comparison less than the window's area, per output."""
        return (count(self.kernel) - 1) * count(output)

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window:
        """Return the pooling window."""
        before = tuple(first for first, _ in self.pads(inputs[0][1:]))
        return sliding(self.kernel, self.steps, before, self.dilation)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the input, and the winner of each window as a 64-bit index."""
        winners = 8 * count(output)
        if not self._pads_itself(inputs[0]):
            padded = count(self._padded(inputs[0]))
            what = "padded input, indices"
            return Saved(own_elements=padded, own_bytes=winners, what=what)
        return Saved(input=True, own_bytes=winners, what="indices")

    def scratch(
        self, inputs: tuple[Shape, ...], output: Shape, gradients: tuple[bool, ...]
    ) -> Scratch:
        """Return the gradient of the copy that pads the input, beyond the input's."""
        if self._pads_itself(inputs[0]) or not gradients[0]:
            return Scratch()
        return Scratch(backward=count(self._padded(inputs[0])) - count(inputs[0]))

    def _pads_itself(self, shape: Shape) -> bool:
        """Return whether torch's pooling pads: evenly, and no more than half a window.

        At a stride, it would for some sizes and not for others.
        """
        if not isinstance(self.pad, str) or max(self.kernel) == 1:
            return True
        pads = zip(self.pads(shape[1:]), self.kernel, strict=True)
        even = all(first == last and 2 * first <= k for (first, last), k in pads)
        return even and self.steps == ones(len(self.steps))

    def _padded(self, shape: Shape) -> Shape:
        channels, *sizes = shape
        pads = zip(sizes, self.pads(shape[1:]), strict=True)
        return (channels, *(n + sum(both) for n, both in pads))

    def passes(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return whether every window is a single position."""
        axes = len(self.kernel)
        single = self.kernel == self.steps == ones(axes)
        return single and self.pad in (zeros(axes), "same")

    def is_view(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return whether it has one axis, as torch then pools over two of them."""
        return len(output) == 2

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.MaxPool2d` or the like, or a class where that cannot pad so."""
        axes = len(self.kernel)
        if not self._pads_itself(inputs[0]):
            arguments = (list(a) for a in (self.kernel, self.steps, self.dilation))
            return TorchForm(
                TorchCall(ranked("SameMaxPool", output), tuple(arguments)),
                helper=_HELPER.format(axes=axes, pads=_PADS[axes]),
                inner=(Inner(ranked("F.max_pool", output), self._padded(inputs[0])),),
            )
        pad = self.pad
        if isinstance(pad, str):  # at a stride of 1, or of a single position
            taps = zip(self.kernel, self.dilation, strict=True)
            pad = tuple(d * (k - 1) // 2 for k, d in taps)
        kwargs = given(
            ("kernel_size", self.kernel, None),
            ("stride", self.steps, self.kernel),
            ("padding", pad, zeros(axes)),
            ("dilation", self.dilation, ones(axes)),
            ("ceil_mode", self.ceil, False),
        )
        return TorchForm(
            TorchCall(ranked("nn.MaxPool", output), (), kwargs),
            ranked("F.max_pool", output) + "({0})",
            kwargs,
        )

    def label(self) -> str:
        """Return `maxpool 3x3 /2`."""
        stride = self.steps[0] if len(set(self.steps)) == 1 else show_shape(self.steps)
        return f"maxpool {show_shape(self.kernel)} /{stride}"


def _need_half(pad: int, kernel: int) -> None:
    if 2 * pad > kernel:
        raise Mismatch(
            f"maxpool: padding {pad} is more than half the window of {kernel}",
            label="torch refuses such padding",
            help=f"use pad={kernel // 2} or less",
        )
