"""Gaussian error linear unit."""

from __future__ import annotations

from archdsl.layer import Layer, count
from archdsl.values import Saved, Shape, TorchCall, TorchForm


class GELU(Layer):
    """Gaussian error linear unit, x * Phi(x): `gelu`.

    Source: Hendrycks & Gimpel 2016, section 2.
    """

    word = "gelu"
    family = "activation"
    sign = "kept"

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return a division, error function, addition and two products each."""
        return 5 * count(output)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the input."""
        return Saved(input=True)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.GELU`."""
        return TorchForm(TorchCall("nn.GELU"), "F.gelu({0})")
