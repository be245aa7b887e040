"""Feature map to vector."""

from __future__ import annotations

from archdsl.layer import Layer, count
from archdsl.values import Shape, TorchCall, TorchForm, Window


class Flatten(Layer):
    """Feature map to vector, channel by channel: `flatten`."""

    word = "flatten"
    also = ("view", "reshape")
    family = "reshape"
    sign = "kept"

    def shape(self, *inputs: Shape) -> Shape:
        """Return (channels x height x width,)."""
        return (count(inputs[0]),)

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window | None:
        """Return None: a vector has no positions."""
        return None

    def aliases(self, training: bool) -> bool:
        """Return True: only the shape changes."""
        return True

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.Flatten`."""
        return TorchForm(TorchCall("nn.Flatten"), "torch.flatten({0}, 1)")
