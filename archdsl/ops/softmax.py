"""Softmax."""

from __future__ import annotations

from collections.abc import Sequence

from archdsl.layer import Layer, all_channels, count
from archdsl.values import Last, Operations, Saved, Shape, TorchCall, TorchForm


class Softmax(Layer):
    """Softmax over channels or features: `softmax`."""

    word = "softmax"
    family = "activation"
    sign = "positive"
    sums_to_one = True

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return a comparison, difference, exponential, sum and division each."""
        return 5 * count(output)

    def operations(
        self, inputs: tuple[Shape, ...], output: Shape, training: bool
    ) -> Operations:
        """Return them as other operations: they combine elements."""
        return self.all_for("other", inputs, output)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the output."""
        return Saved(output=True)

    def channels_read(
        self, some: Sequence[int], inputs: tuple[Shape, ...], output: Shape
    ) -> tuple[Sequence[int], ...]:
        """Return all channels."""
        return all_channels(inputs)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.Softmax` over the channels' dimension."""
        dim = (("dim", -1 if isinstance(output, Last) else 1),)
        return TorchForm(TorchCall("nn.Softmax", (), dim), "F.softmax({0})", dim)
