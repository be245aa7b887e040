"""What transposed convolutions have in common: their shapes, costs and torch calls."""

from __future__ import annotations

from collections.abc import Sequence

from .layer import (
    Layer,
    Mismatch,
    arg,
    conv_tensors,
    count,
    given,
    group_channels,
    need_axes,
    need_groups,
)
from .values import (
    Saved,
    Shape,
    Tensor,
    TorchCall,
    TorchForm,
    Window,
    ones,
    ranked,
    show_shape,
    sliding,
    zeros,
)


class TransposedConvolution(Layer):
    """Base of the transposed convolutions.

    MACs: input elements x kernel area x output channels / groups.
    """

    family = "conv"
    autocast = "lower"
    weighted = True

    kernel: tuple[int, ...] = arg("window", at=0, minimum=1, help="kernel size, as 4x4")
    width: int | None = arg(
        "int", None, at=1, minimum=1, help="output channels; by default, the input's"
    )
    stride: tuple[int, ...] = arg(
        "window", (1, 1), at="/", minimum=1, help="enlargement"
    )
    pad: tuple[int, ...] = arg(
        "window", (0, 0), minimum=0, help="rows cut from each side"
    )
    out_pad: tuple[int, ...] = arg(
        "window", (0, 0), minimum=0, help="rows added at the end"
    )
    dilation: tuple[int, ...] = arg(
        "window", (1, 1), minimum=1, help="distance between taps"
    )
    groups: int = arg("int", 1, minimum=1, help="independent groups of channels")
    bias: bool | None = arg("bool", None, help="whether it has a bias")

    def shape(self, *inputs: Shape) -> Shape:
        """Return the width, and the size along each axis."""
        channels, *sizes = need_axes(inputs[0], self)
        width = channels if self.width is None else self.width
        need_groups(self.word, channels, width, self.groups)
        spatial = [
            (n - 1) * s - 2 * p + reach + extra
            for n, reach, s, p, extra in zip(
                sizes, self._reach(), self.stride, self.pad, self.out_pad, strict=True
            )
        ]
        if min(spatial) < 1:
            raise Mismatch(
                f"{self.word}: the padding cuts away the whole output",
                help="use less padding, or a larger kernel or stride",
                code="A0303",
            )
        limits = zip(self.out_pad, self.stride, self.dilation, strict=True)
        if any(e >= max(s, d) for e, s, d in limits if e):
            raise Mismatch(
                f"{self.word}: `out_pad` must be smaller than the stride",
                label=f"the stride is {show_shape(self.stride)}",
                help="leave `out_pad` out, or use a larger stride",
            )
        return (width, *spatial)

    def _reach(self) -> tuple[int, ...]:
        """Return what the kernel spans along each axis, holes included."""
        pairs = zip(self.kernel, self.dilation, strict=True)
        return tuple(d * (k - 1) + 1 for k, d in pairs)

    def tensors(self, *inputs: Shape) -> tuple[Tensor, ...]:
        """Return weight (in, out / groups, *kernel) and bias (out)."""
        channels = inputs[0][0]
        width = channels if self.width is None else self.width
        weight = (channels, width // self.groups, *self.kernel)
        return conv_tensors(weight, self.bias is not False, width)

    def macs(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return input elements x kernel area x output channels / groups."""
        return count(inputs[0]) * count(self.kernel) * (output[0] // self.groups)

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return the additions of the bias."""
        return count(output) if self.bias is not False else 0

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window:
        """Return the kernel's window over the input, its units spread by the stride."""
        pad = tuple(r - 1 - p for r, p in zip(self._reach(), self.pad, strict=True))
        return sliding(self.kernel, pad=pad, dilation=self.dilation, up=self.stride)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the input, for the weight's gradient."""
        return Saved(input=True)

    def channels_read(
        self, some: Sequence[int], inputs: tuple[Shape, ...], output: Shape
    ) -> tuple[Sequence[int], ...]:
        """Return the input channels of the groups that they belong to."""
        return group_channels(some, self.groups, inputs[0][0], output[0])

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.ConvTranspose2d`, or that for other axes."""
        once, nothing = ones(len(self.kernel)), zeros(len(self.kernel))
        kwargs = given(
            ("kernel_size", self.kernel, None),
            ("stride", self.stride, once),
            ("padding", self.pad, nothing),
            ("output_padding", self.out_pad, nothing),
            ("groups", self.groups, 1),
            ("bias", self.bias is not False, True),
            ("dilation", self.dilation, once),
        )
        name = ranked("nn.ConvTranspose", output)
        return TorchForm(TorchCall(name, (inputs[0][0], output[0]), kwargs))
