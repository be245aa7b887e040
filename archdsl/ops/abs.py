"""Absolute value."""

from __future__ import annotations

from archdsl.layer import Layer, count
from archdsl.values import Saved, Scratch, Shape, TorchCall, TorchForm

_HELPER = '''
class Abs(nn.Module):
    """The absolute value."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.abs(x)
'''


class Abs(Layer):
    """Absolute value, |x|: `abs`."""

    word = "abs"
    also = ("absolute", "absolutevalue", "magnitude")
    family = "activation"
    idempotent = True
    sign = "positive"

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return one operation per element."""
        return count(output)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the input."""
        return Saved(input=True)

    def scratch(
        self, inputs: tuple[Shape, ...], output: Shape, gradients: tuple[bool, ...]
    ) -> Scratch:
        """Return the sign."""
        return Scratch(backward=count(output))

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return the function, or a class of its own."""
        return TorchForm(TorchCall("Abs"), "torch.abs({0})", helper=_HELPER)
