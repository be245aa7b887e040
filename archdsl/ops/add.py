"""Sum of branches."""

from __future__ import annotations

from archdsl.layer import Layer, count, need_equal
from archdsl.values import Scratch, Shape, TorchForm


class Add(Layer):
    """Sum of branches of equal shape: `add { a | b }`."""

    word = "add"
    also = ("sum", "plus")
    family = "merge"
    arity = None
    sign = "kept"
    sums = True

    def shape(self, *inputs: Shape) -> Shape:
        """Return the branches' common shape."""
        need_equal(self.word, inputs, wide=True)
        return inputs[0]

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return one addition less than there are branches, per element."""
        return (len(inputs) - 1) * count(output)

    def shares_gradient(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return True: each branch gets the sum's gradient."""
        return True

    def scratch(
        self, inputs: tuple[Shape, ...], output: Shape, gradients: tuple[bool, ...]
    ) -> Scratch:
        """Return the partial sum, if there are more than two branches."""
        more = count(output) if len(inputs) > 2 else 0
        return Scratch(more, more)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return the sum of the branches."""
        return TorchForm(None, "{*+}")
