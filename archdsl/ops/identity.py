"""The input, unchanged."""

from __future__ import annotations

from ..layer import Layer
from ..values import Shape, TorchCall, TorchForm


class Identity(Layer):
    """The input, unchanged: `identity`."""

    word = "identity"

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.Identity`."""
        return TorchForm(TorchCall("nn.Identity"), "{0}")
