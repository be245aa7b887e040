"""Reciprocal square root."""

from __future__ import annotations

from archdsl.layer import Layer, count
from archdsl.values import Saved, Scratch, Shape, TorchCall, TorchForm

_HELPER = '''
class Rsqrt(nn.Module):
    """The reciprocal of the square root."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.rsqrt(x)
'''


class Rsqrt(Layer):
    """Reciprocal of the square root, 1 / sqrt(x): `rsqrt`.

    Put a `shift` before it, so that it is finite: `square -> shift 1e-6 -> rsqrt`.
    """

    word = "rsqrt"
    also = ("reciprocalsqrt", "inversesqrt")
    family = "activation"
    sign = "positive"

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return a root and a division per element."""
        return 2 * count(output)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the output."""
        return Saved(output=True)

    def scratch(
        self, inputs: tuple[Shape, ...], output: Shape, gradients: tuple[bool, ...]
    ) -> Scratch:
        """Return the cube of the output, and its half."""
        return Scratch(backward=2 * count(output))

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return the function, or a class of its own."""
        return TorchForm(TorchCall("Rsqrt"), "torch.rsqrt({0})", helper=_HELPER)
