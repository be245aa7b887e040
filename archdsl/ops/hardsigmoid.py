"""Piecewise linear sigmoid."""

from __future__ import annotations

from archdsl.layer import Layer, count
from archdsl.values import Saved, Shape, TorchCall, TorchForm


class HardSigmoid(Layer):
    """Piecewise linear sigmoid, min(max(x + 3, 0), 6) / 6: `hardsigmoid`.

    Source: Howard et al. 2019, section 5.2.
    """

    word = "hardsigmoid"
    also = ("hsigmoid",)
    family = "activation"
    sign = "positive"

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return an addition, two comparisons and a division each."""
        return 4 * count(output)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the input."""
        return Saved(input=True)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.Hardsigmoid`."""
        return TorchForm(
            TorchCall("nn.Hardsigmoid"),
            "F.hardsigmoid({0})",
        )
