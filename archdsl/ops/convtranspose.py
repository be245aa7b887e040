"""Transposed convolution along one, two or three axes."""

from __future__ import annotations

from typing import Any

from archdsl.transposed import TransposedConvolution
from archdsl.values import ones


class ConvTranspose(TransposedConvolution):
    """Transposed convolution, which enlarges: `convtranspose 2x2 64 /2`.

    MACs: input elements x kernel area x output channels / groups.

    Source: Dumoulin & Visin 2016, section 4.
    """

    word = "convtranspose"
    also = ("deconv", "deconvolution", "upconv", "transposedconv", "convtransposed")
    scales = True

    def scaled(self, weight: Any, factors: Any) -> Any:
        """Return the weight times the factors.

        Its inputs come first, each with the outputs of its group.
        """
        inputs, outputs, *kernel = weight.shape
        parted = weight.reshape(self.groups, -1, outputs, *kernel)
        by_group = factors.reshape(self.groups, 1, outputs, *ones(len(kernel)))
        return (parted * by_group).reshape(inputs, outputs, *kernel)
