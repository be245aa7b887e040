"""Scaled exponential linear unit."""

from __future__ import annotations

from archdsl.layer import Layer, count
from archdsl.values import Saved, Shape, TorchCall, TorchForm


class SELU(Layer):
    """Scaled exponential linear unit, 1.0507 * elu(x) with alpha 1.6733: `selu`.

    Source: Klambauer et al. 2017, equation 2.
    """

    word = "selu"
    family = "activation"
    sign = "kept"

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return those of an exponential linear unit, and a product per element."""
        return 5 * count(output)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the input, or the output if it runs in place."""
        return Saved(input=True)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.SELU`."""
        return TorchForm(TorchCall("nn.SELU"), "F.selu({0})")
