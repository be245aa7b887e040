"""Transposed convolution with spectral norm."""

from __future__ import annotations

from archdsl.spectral import Spectral
from archdsl.transposed import TransposedConvolution


class SNConvTranspose(Spectral, TransposedConvolution):
    """Transposed convolution with spectral norm: `snconvtranspose 4x4 64 /2 pad=1`.

    The weight is divided by its largest singular value, as for `snconv`. The arguments
    are those of `convtranspose`.

    Source: Miyato et al. 2018, "Spectral normalization for generative adversarial
    networks", section 2.1 and algorithm 1.
    """

    word = "snconvtranspose"
    also = ("sndeconv", "spectralconvtranspose")
    baked = "convtranspose"
    outputs_at = 1
