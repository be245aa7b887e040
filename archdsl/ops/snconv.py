"""Convolution with spectral norm."""

from __future__ import annotations

from archdsl.convolution import PaddedConvolution
from archdsl.layer import Mismatch
from archdsl.spectral import Spectral
from archdsl.values import Shape


class SNConv(Spectral, PaddedConvolution):
    """Convolution with spectral norm: `snconv 3x3 64 /2`.

    The weight is divided by its largest singular value before it is used, so that the
    layer cannot enlarge what it reads by much; as in the discriminators of generative
    adversarial networks. For that, the weight is regarded as a matrix with a row for
    each output channel. Two buffers estimate its singular vectors, and each run in
    training improves them by a step of power iteration. The arguments are those of
    `conv`.

    MACs: those of `conv`. The products with both vectors, and what else makes the
    weight, count as other operations, once for a batch.

    `init` sets the weight before it is divided, and the vectors follow from it.

    For inference, the divided weight can be computed once; ONNX models contain it. A
    part that has such layers cannot be recomputed in the backward pass, where another
    step would change the weight. torch can neither script nor pickle them.

    Source: Miyato et al. 2018, "Spectral normalization for generative adversarial
    networks", section 2.1 and algorithm 1.
    """

    word = "snconv"
    also = ("spectralconv", "spectralnorm", "spectral", "sn")
    baked = "conv"

    def shape(self, *inputs: Shape) -> Shape:
        """Return the width, and the size along each axis."""
        if self.pads_apart:
            raise Mismatch(
                "snconv: `pad=same` takes no stride here",
                help="give numbers, or put a `zeropad` before it",
            )
        return super().shape(*inputs)
