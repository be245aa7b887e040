"""Rectified linear unit."""

from __future__ import annotations

from archdsl.layer import Layer, count
from archdsl.values import Saved, Shape, TorchCall, TorchForm


class ReLU(Layer):
    """Rectified linear unit, max(x, 0): `relu`.

    Source: Nair & Hinton 2010, section 2.
    """

    word = "relu"
    also = ("rectifier",)
    family = "activation"
    idempotent = True
    sign = "positive"

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return one comparison per element."""
        return count(output)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the output."""
        return Saved(output=True)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.ReLU`."""
        return TorchForm(TorchCall("nn.ReLU"), "F.relu({0})")
