"""2-d convolution."""

from __future__ import annotations

from typing import Any

from archdsl.layer import (
    Layer,
    Mismatch,
    arg,
    conv_tensors,
    count,
    given,
    need_map,
    same_pad,
    slide,
)
from archdsl.values import (
    Saved,
    Scratch,
    Shape,
    Tensor,
    TorchCall,
    TorchForm,
    Window,
    show_shape,
)


class Conv(Layer):
    """2-d convolution: `conv 3x3 64 /2`.

    Without a width it keeps the channels of its input. Without `pad`, an odd
    kernel is padded so that stride 1 keeps the size, and an even one is not
    padded; `pad=same` pads an even one, too, at the end one more than at the start.
    Without `bias`, it has one unless a `bn` of the same block is all that reads it.

    MACs: output elements x kernel area x input channels / groups.
    """

    word = "conv"
    also = ("convolution", "convolve")
    family = "conv"
    autocast = "lower"
    weighted = True

    kernel: tuple[int, int] = arg("window", at=0, minimum=1, help="kernel size, as 3x3")
    width: int | None = arg(
        "int", None, at=1, minimum=1, help="output channels; the input's when left out"
    )
    stride: tuple[int, int] = arg(
        "window", (1, 1), at="/", minimum=1, help="stride, as /2"
    )
    pad: tuple[int, int] | str | None = arg(
        "window",
        None,
        minimum=0,
        choices=("same",),
        help="zeros on each side, or `same` to keep the size",
    )
    dilation: tuple[int, int] = arg(
        "window", (1, 1), minimum=1, help="distance between taps"
    )
    groups: int = arg("int", 1, minimum=1, help="independent groups of channels")
    bias: bool | None = arg("bool", None, help="whether a bias is added")

    @property
    def padding(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """The padding in force before and after, per axis."""
        if isinstance(self.pad, str):
            total = [
                d * (k - 1) for k, d in zip(self.kernel, self.dilation, strict=True)
            ]
            first, second = ((t // 2, t - t // 2) for t in total)
            return first, second
        pads = same_pad(self.kernel, self.dilation) if self.pad is None else self.pad
        return (pads[0], pads[0]), (pads[1], pads[1])

    def shape(self, *inputs: Shape) -> Shape:
        """Return (width, height', width')."""
        channels, *sizes = need_map(inputs[0], self.word)
        width = channels if self.width is None else self.width
        for name, value in (("input", channels), ("output", width)):
            if value % self.groups:
                raise Mismatch(
                    f"conv: {value} {name} channels do not divide into "
                    f"{self.groups} groups",
                    help="groups must divide both the input and the output channels",
                    code="A0304",
                )
        if isinstance(self.pad, str) and self.stride != (1, 1):
            raise Mismatch(
                "conv: `pad=same` keeps the size, and its stride is "
                f"{show_shape(self.stride)}",
                help="write the padding as a number, or leave the stride out",
            )
        spatial = (
            slide("conv", n, k, s, p, d)
            for n, k, s, p, d in zip(
                sizes,
                self.kernel,
                self.stride,
                self.padding,
                self.dilation,
                strict=True,
            )
        )
        return (width, *spatial)

    def tensors(self, *inputs: Shape) -> tuple[Tensor, ...]:
        """Return weight (out, in / groups, kh, kw) and bias (out)."""
        channels = inputs[0][0]
        width = channels if self.width is None else self.width
        weight = (width, channels // self.groups, *self.kernel)
        return conv_tensors(weight, self.bias is not False, width)

    def macs(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return output elements x kernel area x input channels / groups."""
        return count(output) * count(self.kernel) * (inputs[0][0] // self.groups)

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return the sums of the bias."""
        return count(output) if self.bias is not False else 0

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window:
        """Return the kernel's window."""
        before = tuple(pads[0] for pads in self.padding)
        return Window(self.kernel, self.stride, before, self.dilation)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the input, for the weight's gradient; a copy if unevenly padded."""
        padded = self._padded(inputs[0])
        if not padded:
            return Saved(input=True)
        return Saved(own_elements=padded, what="padded input")

    def scratch(
        self, inputs: tuple[Shape, ...], output: Shape, gradients: tuple[bool, ...]
    ) -> Scratch:
        """Return the gradient of an unevenly padded input, beyond the input's."""
        padded = self._padded(inputs[0])
        return Scratch(
            backward=padded - count(inputs[0]) if padded and gradients[0] else 0
        )

    def _padded(self, shape: Shape) -> int:
        """Return the elements of the input with its padding, if that is uneven."""
        if not isinstance(self.pad, str):
            return 0
        extra = [after - before for before, after in self.padding]
        if not any(extra):
            return 0
        channels, height, width = shape
        return channels * (height + extra[0]) * (width + extra[1])

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.Conv2d`."""
        pad: Any = self.pad
        if not isinstance(pad, str):
            pad = tuple(before for before, _ in self.padding)
        kwargs = given(
            ("kernel_size", self.kernel, None),
            ("stride", self.stride, (1, 1)),
            ("padding", pad, (0, 0)),
            ("dilation", self.dilation, (1, 1)),
            ("groups", self.groups, 1),
            ("bias", self.bias is not False, True),
        )
        return TorchForm(TorchCall("nn.Conv2d", (inputs[0][0], output[0]), kwargs))

    def label(self) -> str:
        """Return `conv 3x3, 64 /2`."""
        text = f"conv {show_shape(self.kernel)}"
        if self.width is not None:
            text += f" {self.width}"
        if self.stride != (1, 1):
            uneven = len(set(self.stride)) > 1
            text += f" /{show_shape(self.stride) if uneven else self.stride[0]}"
        return text
