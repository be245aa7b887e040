"""Hyperbolic tangent."""

from __future__ import annotations

from archdsl.layer import Layer, count
from archdsl.values import Saved, Shape, TorchCall, TorchForm


class Tanh(Layer):
    """Hyperbolic tangent: `tanh`."""

    word = "tanh"
    family = "activation"
    sign = "kept"

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return one elementary function per element."""
        return count(output)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the output."""
        return Saved(output=True)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.Tanh`."""
        return TorchForm(TorchCall("nn.Tanh"), "torch.tanh({0})")
