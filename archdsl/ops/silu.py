"""Sigmoid linear unit."""

from __future__ import annotations

from archdsl.layer import Layer, count
from archdsl.values import Saved, Shape, TorchCall, TorchForm


class SiLU(Layer):
    """Sigmoid linear unit, x * sigmoid(x), also known as swish: `silu`.

    Source: Ramachandran et al. 2017, section 2.
    """

    word = "silu"
    also = ("swish",)
    family = "activation"
    sign = "kept"

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return those of a sigmoid, and one multiplication per element."""
        return 5 * count(output)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the input."""
        return Saved(input=True)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.SiLU`."""
        return TorchForm(TorchCall("nn.SiLU"), "F.silu({0})")
