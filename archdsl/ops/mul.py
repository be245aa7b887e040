"""Product of branches."""

from __future__ import annotations

from archdsl.layer import Layer, Mismatch, count
from archdsl.values import Saved, Shape, TorchForm, show_shape


class Mul(Layer):
    """Element-wise product of branches of equal shape: `mul { a | b }`."""

    word = "mul"
    family = "merge"
    arity = None

    def shape(self, *inputs: Shape) -> Shape:
        """Return the branches' common shape."""
        for number, other in enumerate(inputs[1:], 2):
            if other != inputs[0]:
                raise Mismatch(
                    f"mul: branches 1 and {number} differ "
                    f"({show_shape(inputs[0])} and {show_shape(other)})",
                    label=f"branch {number} gives {show_shape(other)}",
                    help="make the branches agree in channels and size",
                    code="A0301",
                )
        return inputs[0]

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return one product less than there are branches, each."""
        return (len(inputs) - 1) * count(output)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the factors, each the other's gradient."""
        return Saved(factors=True)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return the product of the branches."""
        return TorchForm(None, "{**}")
