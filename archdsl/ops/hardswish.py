"""Piecewise approximation of the sigmoid linear unit."""

from __future__ import annotations

from archdsl.layer import Layer, count
from archdsl.values import Saved, Shape, TorchCall, TorchForm


class HardSwish(Layer):
    """Swish with a piecewise linear sigmoid, x * hardsigmoid(x): `hardswish`.

    Source: Howard et al. 2019, section 5.2.
    """

    word = "hardswish"
    also = ("hswish",)
    family = "activation"
    sign = "kept"

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return those of a hard sigmoid, and one multiplication per element."""
        return 5 * count(output)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the input."""
        return Saved(input=True)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.Hardswish`."""
        return TorchForm(
            TorchCall("nn.Hardswish"),
            "F.hardswish({0})",
        )
