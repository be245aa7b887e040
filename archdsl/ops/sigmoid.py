"""Logistic sigmoid."""

from __future__ import annotations

from archdsl.layer import Layer, count
from archdsl.values import Saved, Shape, TorchCall, TorchForm


class Sigmoid(Layer):
    """Logistic sigmoid, 1 / (1 + exp(-x)): `sigmoid`."""

    word = "sigmoid"
    also = ("logistic",)
    family = "activation"
    sign = "positive"

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return a negation, exponential, addition and division each."""
        return 4 * count(output)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the output."""
        return Saved(output=True)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.Sigmoid`."""
        return TorchForm(TorchCall("nn.Sigmoid"), "torch.sigmoid({0})")
