"""Feature map to vector."""

from __future__ import annotations

from ..layer import Layer, count
from ..values import Shape, TorchCall, TorchForm


class Flatten(Layer):
    """Feature map to vector, channel by channel: `flatten`."""

    word = "flatten"
    family = "reshape"
    local = False

    def shape(self, *inputs: Shape) -> Shape:
        """Return (channels x height x width,)."""
        return (count(inputs[0]),)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.Flatten`."""
        return TorchForm(TorchCall("nn.Flatten"), "torch.flatten({0}, 1)")
