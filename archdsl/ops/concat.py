"""Concatenation of branches."""

from __future__ import annotations

from archdsl.layer import Layer, Mismatch
from archdsl.values import Shape, TorchForm, show_shape


class Concat(Layer):
    """Concatenation of branches along the channels: `concat { a | b }`."""

    word = "concat"
    family = "merge"
    arity = None

    def shape(self, *inputs: Shape) -> Shape:
        """Return (sum of channels, height, width)."""
        first = inputs[0]
        for number, other in enumerate(inputs[1:], 2):
            if other[1:] != first[1:]:
                raise Mismatch(
                    f"concat: branches 1 and {number} differ in height or width "
                    f"({show_shape(first)} and {show_shape(other)})",
                    label=f"branch {number} gives {show_shape(other)}",
                    help="give the branches the same strides, and padding that "
                    "keeps the size",
                    code="A0301",
                )
        channels = first[0]
        for other in inputs[1:]:
            channels = channels + other[0]
        return (channels, *first[1:])

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `torch.cat` along dimension 1."""
        return TorchForm(None, "torch.cat([{*,}], 1)")
