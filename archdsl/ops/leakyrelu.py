"""Leaky rectified linear unit."""

from __future__ import annotations

from archdsl.layer import Layer, arg, count, given
from archdsl.values import Saved, Shape, TorchCall, TorchForm


class LeakyReLU(Layer):
    """Rectified linear unit with a small slope below zero: `leakyrelu 0.2`.

    Source: Maas et al. 2013, section 2.
    """

    word = "leakyrelu"
    also = ("lrelu",)
    family = "activation"
    sign = "kept"

    slope: float = arg("float", 0.01, at=0, minimum=0, help="slope below zero")

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return one comparison and one multiplication per element."""
        return 2 * count(output)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the input, or the output if it runs in place."""
        return Saved(input=True)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.LeakyReLU`."""
        kwargs = given(("negative_slope", self.slope, 0.01))
        return TorchForm(
            TorchCall("nn.LeakyReLU", (), kwargs),
            "F.leaky_relu({0})",
            kwargs,
        )
