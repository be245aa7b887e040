"""Square."""

from __future__ import annotations

from archdsl.layer import Layer, count
from archdsl.values import Saved, Scratch, Shape, TorchCall, TorchForm

_HELPER = '''
class Square(nn.Module):
    """The square."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.square(x)
'''


class Square(Layer):
    """Square, x * x: `square`.

    `relu -> square` is the squared rectifier of So et al. 2021, "Primer", section 4.
    """

    word = "square"
    family = "activation"
    sign = "positive"

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return one multiplication per element."""
        return count(output)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the input."""
        return Saved(input=True)

    def scratch(
        self, inputs: tuple[Shape, ...], output: Shape, gradients: tuple[bool, ...]
    ) -> Scratch:
        """Return twice the input, and its product with the gradient."""
        return Scratch(backward=2 * count(output))

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return the function, or a class of its own."""
        return TorchForm(TorchCall("Square"), "torch.square({0})", helper=_HELPER)
