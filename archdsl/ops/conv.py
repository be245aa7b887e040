"""Convolution along one, two or three axes."""

from __future__ import annotations

from typing import Any

from archdsl.convolution import PaddedConvolution
from archdsl.values import ones


class Conv(PaddedConvolution):
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

    def scaled(self, weight: Any, factors: Any) -> Any:
        """Return the weight, whose output channels come first, times the factors."""
        return weight * factors.reshape(-1, 1, *ones(len(self.kernel)))
