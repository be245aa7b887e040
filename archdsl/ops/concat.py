"""Concatenation of branches."""

from __future__ import annotations

from archdsl.layer import Layer, need_equal
from archdsl.values import Shape, TorchForm


class Concat(Layer):
    """Concatenation of branches along the channels: `concat { a | b }`."""

    word = "concat"
    family = "merge"
    arity = None

    def shape(self, *inputs: Shape) -> Shape:
        """Return (sum of channels, height, width)."""
        need_equal(self.word, inputs, wide=False)
        first = inputs[0]
        channels = first[0]
        for other in inputs[1:]:
            channels = channels + other[0]
        return (channels, *first[1:])

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `torch.cat` along dimension 1."""
        return TorchForm(None, "torch.cat([{*,}], 1)")
