"""Product of branches."""

from __future__ import annotations

from archdsl.layer import Layer, count, need_equal
from archdsl.values import Saved, Shape, TorchForm


class Mul(Layer):
    """Element-wise product of branches of equal shape: `mul { a | b }`."""

    word = "mul"
    family = "merge"
    arity = None

    def shape(self, *inputs: Shape) -> Shape:
        """Return the branches' common shape."""
        need_equal(self.word, inputs, wide=True)
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
