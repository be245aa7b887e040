"""Hyperbolic tangent."""

from __future__ import annotations

from ..layer import Layer
from ..values import Saved, Shape, TorchCall, TorchForm


class Tanh(Layer):
    """Hyperbolic tangent: `tanh`."""

    word = "tanh"
    family = "activation"

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the output."""
        return Saved(output=True)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.Tanh`."""
        return TorchForm(TorchCall("nn.Tanh"), "torch.tanh({0})")
