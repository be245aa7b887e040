"""Feature map to vector."""

from __future__ import annotations

from collections.abc import Sequence

from archdsl.layer import Layer, count
from archdsl.values import Last, Shape, TorchCall, TorchForm, Window, channels


class Flatten(Layer):
    """Feature map to vector, channel by channel: `flatten`."""

    word = "flatten"
    also = ("view",)
    family = "reshape"
    sign = "kept"
    scatters = True

    def shape(self, *inputs: Shape) -> Shape:
        """Return (channels x the sizes,)."""
        return (count(inputs[0]),)

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window | None:
        """Return None: a vector has no positions."""
        return None

    def is_view(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return whether the shape changes, as torch returns a vector itself."""
        return inputs != (output,)

    def aliases(self, training: bool) -> bool:
        """Return True: only the shape changes."""
        return True

    def channels_read(
        self, some: Sequence[int], inputs: tuple[Shape, ...], output: Shape
    ) -> tuple[Sequence[int], ...]:
        """Return the channels that features come from."""
        size = count(inputs[0]) // channels(inputs[0])
        if isinstance(inputs[0], Last):
            return (sorted({c % channels(inputs[0]) for c in some}),)
        return (sorted({c // size for c in some}),)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.Flatten`."""
        return TorchForm(TorchCall("nn.Flatten"), "torch.flatten({0}, 1)")
