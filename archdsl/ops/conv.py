"""Convolution along one, two or three axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from archdsl.convolution import MISSING, PADS, Convolution
from archdsl.layer import Mismatch, arg, count, given
from archdsl.padding import need_room
from archdsl.values import (
    CONTINUED,
    Inner,
    Kernel,
    Saved,
    Scratch,
    Shape,
    TorchCall,
    TorchForm,
    Window,
    ones,
    ranked,
)

_HELPER: Final = '''
class SameConv{axes}d(nn.Conv{axes}d):
    """A convolution that pads for size / stride outputs, rounded up."""

    def forward(self, x: Tensor) -> Tensor:
{pads}        return F.conv{axes}d(x, self.weight, self.bias, s, 0, d, self.groups)
{missing}'''


class Conv(Convolution):
    """Convolution: `conv 3x3 64 /2`.

    The kernel has a size for each axis of the map: `conv 9 64` on a sequence,
    `conv 3x3x3 64` on a video.
    Without a width, it keeps the number of channels. Without `pad`, an odd kernel is
    padded so that stride 1 keeps the size, and an even kernel is not padded.
    `pad=same` pads as TensorFlow does: enough for size / stride outputs, rounded up;
    if the padding is odd, the end gets one more than the start. Unless you say
    otherwise, there is a bias, except where only a `bn` of the same block reads the
    output.
    With `pad_mode`, the padding continues the map instead of zeros, as `pad` does.

    MACs: output elements x kernel area x input channels / groups.
    """

    word = "conv"
    also = ("convolution", "convolve")
    scales = True

    pad_mode: str = arg(
        "choice",
        "zeros",
        choices=("zeros", *CONTINUED),
        help="what the padding contains, as for `pad`",
    )

    def shape(self, *inputs: Shape) -> Shape:
        """Return the width, and the size along each axis."""
        found = super().shape(*inputs)
        if self.pad_mode != "zeros":
            if self.pads_apart:
                raise Mismatch(
                    "conv: `pad=same` with a stride can only pad with zeros",
                    help="give numbers, or put a `pad` before it",
                )
            ends = tuple(self.pads(inputs[0][1:]))
            need_room("conv", self.pad_mode, inputs[0], ends, max(self.kernel))
        return found

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window:
        """Return the kernel's window, which may go on beyond the border."""
        plain = super().window(inputs, output)
        if self.pad_mode == "zeros":
            return plain
        return CONTINUED[self.pad_mode](*plain)

    def copied(self, shape: Shape) -> int:
        """Return the elements of the copy in which torch pads the input, if any."""
        if self.pad_mode == "zeros":
            return super().copied(shape)
        return count(self.with_pads(shape))

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the copy that pads the input, or the input; see `Pad.saved`."""
        own = super().saved(inputs, output)
        return own._replace(tracked_input=self.pad_mode in ("reflect", "replicate"))

    def scratch(
        self, inputs: tuple[Shape, ...], output: Shape, gradients: tuple[bool, ...]
    ) -> Scratch:
        """Return the gradient of the copy that pads the input, beyond the input's.

        With circular padding, it is copied after the output's gradient was freed.
        """
        found = super().scratch(inputs, output, gradients)
        if self.pad_mode != "circular" or not gradients[0]:
            return found
        twice = 2 * self.copied(inputs[0]) - count(output) - count(inputs[0])
        return found._replace(backward=max(found.backward, twice))

    def scaled(self, weight: Any, factors: Any) -> Any:
        """Return the weight, whose output channels come first, times the factors."""
        return weight * factors.reshape(-1, 1, *ones(len(self.kernel)))

    def as_kernel(self, inputs: tuple[Shape, ...], output: Shape) -> Kernel | None:
        """Return its own kernel, unless the padding depends on the size."""
        if isinstance(self.pad, str) or self.pad_mode != "zeros":
            return None
        pads = tuple(before for before, _ in self.pads(inputs[0][1:]))
        return Kernel(self.kernel, self.stride, pads, self.dilation, self.groups)

    def kernel_of(self, own: Mapping[str, Any]) -> tuple[Any, Any | None]:
        """Return its weight and its bias, if it has one."""
        return own["weight"], own.get("bias")

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.Conv2d` or the like, or a class for `same` at a stride."""
        args, kwargs = (inputs[0][0], output[0]), self.arguments(inputs)
        kwargs += given(("padding_mode", self.pad_mode, "zeros"))
        if not self.pads_apart:
            return TorchForm(TorchCall(ranked("nn.Conv", output), args, kwargs))
        axes = len(self.kernel)
        return TorchForm(
            TorchCall(ranked("SameConv", output), args, kwargs),
            helper=_HELPER.format(axes=axes, pads=PADS[axes], missing=MISSING),
            inner=(Inner(ranked("F.conv", output), self.with_pads(inputs[0])),),
        )
