"""Gated linear unit."""

from __future__ import annotations

from archdsl.layer import Layer, Mismatch, count
from archdsl.values import Saved, Shape, TorchCall, TorchForm, show_shape


class GLU(Layer):
    """Gate one half of the channels by the other, a * sigmoid(b): `glu`.

    Source: Dauphin et al. 2016, section 2, equation 1.
    """

    word = "glu"
    family = "activation"

    def shape(self, *inputs: Shape) -> Shape:
        """Return the input's shape with half of the channels."""
        channels, *sizes = inputs[0]
        if channels % 2:
            raise Mismatch(
                f"glu: {int(channels)} channels have no halves",
                label=f"the input is {show_shape(inputs[0])}",
                help="make twice the channels that you want",
                code="A0304",
            )
        return (channels // 2, *sizes)

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return negation, exponential, sum, division and product of each."""
        return 5 * count(output)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the input."""
        return Saved(input=True)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.GLU` along the channels."""
        return TorchForm(TorchCall("nn.GLU", (1,)), "F.glu({0})", (("dim", 1),))
