"""Logistic sigmoid."""

from __future__ import annotations

from ..layer import Layer
from ..values import Saved, Shape, TorchCall, TorchForm


class Sigmoid(Layer):
    """Logistic sigmoid, 1 / (1 + exp(-x)): `sigmoid`."""

    word = "sigmoid"
    family = "activation"

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the output."""
        return Saved(output=True)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.Sigmoid`."""
        return TorchForm(TorchCall("nn.Sigmoid"), "torch.sigmoid({0})")
