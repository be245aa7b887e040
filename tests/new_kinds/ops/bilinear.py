"""Bilinear merge of two vectors."""

from __future__ import annotations

from collections.abc import Sequence

from archdsl.layer import Layer, Mismatch, count
from archdsl.values import Saved, Shape, TorchForm, channels, show_shape


class Bilinear(Layer):
    """Products of all pairs of features of two vectors: `bilinear { a | b }`.

    Source: Tenenbaum & Freeman 2000, section 2; the weight of each pair is left to the
        next layer.
    """

    word = "bilinear"
    family = "merge"
    arity = 2

    def shape(self, *inputs: Shape) -> Shape:
        """Return a vector with a feature for each pair."""
        for shape in inputs:
            if len(shape) > 1:
                raise Mismatch(
                    f"bilinear joins vectors, and one input is {show_shape(shape)}",
                    help="put `flatten` or `globalavgpool` before it",
                )
        return (channels(inputs[0]) * channels(inputs[1]),)

    def macs(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return a product for each pair."""
        return count(output)

    def backward_macs(
        self, inputs: tuple[Shape, ...], output: Shape, gradients: tuple[bool, ...]
    ) -> int:
        """Return as many for the gradient of each vector."""
        return count(output) * sum(gradients)

    def channels_read(
        self, some: Sequence[int], inputs: tuple[Shape, ...], output: Shape
    ) -> tuple[Sequence[int], ...]:
        """Return the two features of each pair."""
        pairs = [divmod(feature, channels(inputs[1])) for feature in some]
        return tuple([sorted(set(side)) for side in zip(*pairs, strict=True)])

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return both vectors; each is needed for the other's gradient."""
        return Saved(factors=True)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return a product of a column and a row."""
        return TorchForm(
            None, "torch.bmm({0}.unsqueeze(2), {1}.unsqueeze(1)).flatten(1)"
        )
