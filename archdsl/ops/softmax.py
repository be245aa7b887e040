"""Softmax."""

from __future__ import annotations

from ..layer import Layer
from ..values import Saved, Shape, TorchCall, TorchForm


class Softmax(Layer):
    """Softmax over channels or features: `softmax`."""

    word = "softmax"
    family = "activation"

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the output."""
        return Saved(output=True)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.Softmax` over dimension 1."""
        dim = (("dim", 1),)
        return TorchForm(TorchCall("nn.Softmax", (), dim), "F.softmax({0})", dim)
