"""Reciprocal."""

from __future__ import annotations

from archdsl.layer import Layer, count
from archdsl.values import Saved, Scratch, Shape, TorchCall, TorchForm

_HELPER = '''
class Reciprocal(nn.Module):
    """The reciprocal."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.reciprocal(x)
'''


class Reciprocal(Layer):
    """Reciprocal, 1 / x: `reciprocal`.

    `mul { | ... -> reciprocal }` is a quotient.
    """

    word = "reciprocal"
    also = ("inverse",)
    family = "activation"
    sign = "kept"

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return one division per element."""
        return count(output)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the output."""
        return Saved(output=True)

    def scratch(
        self, inputs: tuple[Shape, ...], output: Shape, gradients: tuple[bool, ...]
    ) -> Scratch:
        """Return the square of the output, and its negative."""
        return Scratch(backward=2 * count(output))

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return the function, or a class of its own."""
        return TorchForm(
            TorchCall("Reciprocal"), "torch.reciprocal({0})", helper=_HELPER
        )
