"""Gaussian error linear unit."""

from __future__ import annotations

from ..layer import Layer
from ..values import Saved, Shape, TorchCall, TorchForm


class GELU(Layer):
    """Gaussian error linear unit, x * Phi(x): `gelu`.

    Source: Hendrycks & Gimpel 2016, section 2.
    """

    word = "gelu"
    family = "activation"

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the input."""
        return Saved(input=True)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.GELU`."""
        return TorchForm(TorchCall("nn.GELU"), "F.gelu({0})")
