"""Fully connected layer with spectral norm."""

from __future__ import annotations

from archdsl.connected import Connected
from archdsl.spectral import Spectral


class SNLinear(Spectral, Connected):
    """Fully connected layer with spectral norm: `snlinear 1`.

    The weight is divided by its largest singular value, as for `snconv`. The arguments
    are those of `linear`.

    Source: Miyato et al. 2018, "Spectral normalization for generative adversarial
    networks", section 2.1 and algorithm 1.
    """

    word = "snlinear"
    also = ("spectrallinear", "sndense", "snfc")
    baked = "linear"
    spares_weight = True
