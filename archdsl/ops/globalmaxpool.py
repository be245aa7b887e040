"""Maximum over all positions."""

from __future__ import annotations

from archdsl.layer import Layer, count, need_map
from archdsl.values import Saved, Shape, TorchCall, TorchForm, Window, ranked


class GlobalMaxPool(Layer):
    """Maximum of each channel over all positions, as a vector: `globalmaxpool`.

    Source: Oquab et al. 2015, "Is object localization for free?", section 3.
    """

    word = "globalmaxpool"
    also = ("gmp", "globalmaxpooling")
    family = "pool"
    views = True
    sign = "kept"
    maximum = True

    def shape(self, *inputs: Shape) -> Shape:
        """Return (channels,)."""
        return (need_map(inputs[0], self.word)[0],)

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return one comparison less than there are positions, for each channel."""
        return count(inputs[0]) - count(output)

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window | None:
        """Return None: each maximum is taken over all positions."""
        return None

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the input, and the winner of each channel as a 64-bit index."""
        return Saved(input=True, own_bytes=8 * count(output), what="indices")

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.AdaptiveMaxPool2d(1)` or the like, and a flatten."""
        return TorchForm(
            TorchCall(ranked("nn.AdaptiveMaxPool", inputs[0]), (1,)),
            ranked("F.adaptive_max_pool", inputs[0]) + "({0}, 1).flatten(1)",
            then=(TorchCall("nn.Flatten"),),
        )
