"""Rectified linear unit with a ceiling."""

from __future__ import annotations

from archdsl.layer import Layer, count
from archdsl.values import Saved, Shape, TorchCall, TorchForm


class ReLU6(Layer):
    """Rectified linear unit with a ceiling of 6, min(max(x, 0), 6): `relu6`.

    Source: Krizhevsky 2010, "Convolutional deep belief networks on CIFAR-10".
    """

    word = "relu6"
    family = "activation"
    idempotent = True
    sign = "positive"

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return two comparisons per element."""
        return 2 * count(output)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the input."""
        return Saved(input=True)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.ReLU6`."""
        return TorchForm(TorchCall("nn.ReLU6"), "F.relu6({0})")
