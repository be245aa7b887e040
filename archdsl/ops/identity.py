"""The input, unchanged."""

from __future__ import annotations

from archdsl.layer import Layer
from archdsl.values import Shape, TorchCall, TorchForm


class Identity(Layer):
    """The input, unchanged: `identity`."""

    word = "identity"
    also = ("noop", "passthrough")
    sign = "kept"

    def aliases(self, training: bool) -> bool:
        """Return True."""
        return True

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.Identity`."""
        return TorchForm(TorchCall("nn.Identity"), "{0}")
