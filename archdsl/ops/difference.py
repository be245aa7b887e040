"""Absolute difference of two branches."""

from __future__ import annotations

from archdsl.layer import Layer, Mismatch, count, need_equal
from archdsl.values import Saved, Scratch, Shape, TorchForm


class Difference(Layer):
    """Absolute difference of two branches of equal shape: `difference { a | b }`.

    Source: Koch et al. 2015, section 3.1, for the distance of twins.
    """

    word = "difference"
    also = ("subtract",)
    family = "merge"
    arity = None

    def shape(self, *inputs: Shape) -> Shape:
        """Return the branches' common shape."""
        if len(inputs) > 2:
            raise Mismatch(
                f"difference takes two branches, not {len(inputs)}",
                help="nest it for more",
            )
        need_equal(self.word, inputs, wide=True)
        return inputs[0]

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return one subtraction and one absolute value per element."""
        return 2 * count(output)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the difference, for its sign."""
        return Saved(own_elements=count(output), what="difference")

    def scratch(
        self, inputs: tuple[Shape, ...], output: Shape, gradients: tuple[bool, ...]
    ) -> Scratch:
        """Return the sign, before the difference's gradient goes to both sides."""
        return Scratch(backward=(2 - sum(gradients)) * count(output))

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return the absolute value of the difference."""
        return TorchForm(None, "torch.abs({0} - {1})")
