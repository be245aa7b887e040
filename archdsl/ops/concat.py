"""Concatenation of branches."""

from __future__ import annotations

from collections.abc import Sequence

from archdsl.layer import Layer, need_equal
from archdsl.values import Last, Shape, TorchForm, channels, with_channels


class Concat(Layer):
    """Concatenation of branches along the channels: `concat { a | b }`."""

    word = "concat"
    also = ("cat", "concatenate")
    family = "merge"
    arity = None
    sign = "kept"

    def shape(self, *inputs: Shape) -> Shape:
        """Return (sum of channels, then the sizes)."""
        need_equal(self.word, inputs, wide=False)
        return with_channels(inputs[0], sum(channels(shape) for shape in inputs))

    def shares_gradient(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return True: each branch gets its part of the gradient."""
        return True

    def channels_read(
        self, some: Sequence[int], inputs: tuple[Shape, ...], output: Shape
    ) -> tuple[Sequence[int], ...]:
        """Return the channels of the branches that they come from."""
        found, start = [], 0
        for shape in inputs:
            width = channels(shape)
            found.append([c - start for c in some if start <= c < start + width])
            start += width
        return tuple(found)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `torch.cat` along the channels' dimension."""
        dim = -1 if isinstance(output, Last) else 1
        return TorchForm(None, f"torch.cat([{{*,}}], {dim})")
