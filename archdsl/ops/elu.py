"""Exponential linear unit."""

from __future__ import annotations

from archdsl.layer import Layer, arg, count, given
from archdsl.values import Saved, Shape, TorchCall, TorchForm


class ELU(Layer):
    """Exponential linear unit, x or alpha * (exp(x) - 1) below zero: `elu`.

    Source: Clevert et al. 2016, section 3.
    """

    word = "elu"
    family = "activation"
    sign = "kept"

    alpha: float = arg(
        "float", 1.0, at=0, minimum=0, help="negative of the limit far below zero"
    )

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return a comparison, exponential, difference and product each."""
        return 4 * count(output)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the input, or the output if it runs in place."""
        return Saved(input=True)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.ELU`."""
        kwargs = given(("alpha", self.alpha, 1.0))
        return TorchForm(
            TorchCall("nn.ELU", (), kwargs),
            "F.elu({0})",
            kwargs,
        )
