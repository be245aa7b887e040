"""A fixed summand."""

from __future__ import annotations

from collections.abc import Sequence

from archdsl.layer import Layer, arg, count
from archdsl.values import Shape, TorchCall, TorchForm

_HELPER = '''
class Shift(nn.Module):
    """Add a fixed number."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.number = number

    def forward(self, x: Tensor) -> Tensor:
        return x + self.number
'''


class Shift(Layer):
    """Add a fixed number: `shift 1e-6`.

    `layershift` trains a summand for each channel.
    """

    word = "shift"
    also = ("addconstant", "epsilon")

    number: float = arg("float", at=0, help="number added to each value")

    def is_positive(self, inputs: Sequence[bool]) -> bool:
        """Return whether neither the input nor the number is negative."""
        return inputs[0] and self.number >= 0

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return one addition per element."""
        return count(output)

    def passes(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return whether the number is zero."""
        return self.number == 0

    def shares_gradient(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return True: the gradient goes through."""
        return True

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return a sum, or a class of its own."""
        return TorchForm(
            TorchCall("Shift", (self.number,)),
            "{0} + {number}",
            (("number", self.number),),
            helper=_HELPER,
        )

    def label(self) -> str:
        """Return `shift 1e-06`."""
        return f"shift {float(self.number):g}"
