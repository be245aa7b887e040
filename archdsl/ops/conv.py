"""Convolution along one, two or three axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from archdsl.convolution import MISSING, PADS, Convolution
from archdsl.values import Inner, Kernel, Shape, TorchCall, TorchForm, ones, ranked

_HELPER: Final = '''
class SameConv{axes}d(nn.Conv{axes}d):
    """A convolution with size / stride outputs, rounded up: it pads just so much."""

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

    MACs: output elements x kernel area x input channels / groups.
    """

    word = "conv"
    also = ("convolution", "convolve")
    scales = True

    def scaled(self, weight: Any, factors: Any) -> Any:
        """Return the weight, whose output channels come first, times the factors."""
        return weight * factors.reshape(-1, 1, *ones(len(self.kernel)))

    def as_kernel(self, inputs: tuple[Shape, ...], output: Shape) -> Kernel | None:
        """Return its own kernel, unless the padding depends on the size."""
        if isinstance(self.pad, str):
            return None
        pads = tuple(before for before, _ in self.pads(inputs[0][1:]))
        return Kernel(self.kernel, self.stride, pads, self.dilation, self.groups)

    def kernel_of(self, own: Mapping[str, Any]) -> tuple[Any, Any | None]:
        """Return its weight and its bias, if it has one."""
        return own["weight"], own.get("bias")

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.Conv2d` or the like, or a class for `same` at a stride."""
        args, kwargs = (inputs[0][0], output[0]), self.arguments(inputs)
        if not self.pads_apart:
            return TorchForm(TorchCall(ranked("nn.Conv", output), args, kwargs))
        axes = len(self.kernel)
        return TorchForm(
            TorchCall(ranked("SameConv", output), args, kwargs),
            helper=_HELPER.format(axes=axes, pads=PADS[axes], missing=MISSING),
            inner=(Inner(ranked("F.conv", output), self.with_pads(inputs[0])),),
        )
