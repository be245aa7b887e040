"""Square root."""

from __future__ import annotations

from archdsl.layer import Layer, count
from archdsl.values import Saved, Scratch, Shape, TorchCall, TorchForm

_HELPER = '''
class Sqrt(nn.Module):
    """The square root."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sqrt(x)
'''


class Sqrt(Layer):
    """Square root: `sqrt`.

    The root of a negative number is NaN, so use it after a layer whose output is never
    negative.
    """

    word = "sqrt"
    also = ("squareroot",)
    family = "activation"
    sign = "positive"

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return one root per element."""
        return count(output)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the output."""
        return Saved(output=True)

    def scratch(
        self, inputs: tuple[Shape, ...], output: Shape, gradients: tuple[bool, ...]
    ) -> Scratch:
        """Return twice the output."""
        return Scratch(backward=count(output))

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return the function, or a class of its own."""
        return TorchForm(TorchCall("Sqrt"), "torch.sqrt({0})", helper=_HELPER)
