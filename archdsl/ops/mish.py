"""Mish."""

from __future__ import annotations

from archdsl.layer import Layer, count
from archdsl.values import Saved, Shape, TorchCall, TorchForm


class Mish(Layer):
    """Mish, x * tanh(log(1 + exp(x))): `mish`.

    Source: Misra 2019, equation 1.
    """

    word = "mish"
    family = "activation"
    sign = "kept"

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return an exponential, sum, logarithm, tangent and product each."""
        return 5 * count(output)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the input."""
        return Saved(input=True)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.Mish`."""
        return TorchForm(TorchCall("nn.Mish"), "F.mish({0})")
