"""Average over all positions."""

from __future__ import annotations

from archdsl.layer import Layer, count, need_map
from archdsl.values import Shape, TorchCall, TorchForm, Window, ranked


class GlobalAvgPool(Layer):
    """Average of each channel over all positions, as a vector: `globalavgpool`.

    Source: Lin et al. 2013, "Network in Network", section 3.2.
    """

    word = "globalavgpool"
    also = ("gap", "globalaveragepool", "globalaveragepooling", "globalpool")
    family = "pool"
    views = True
    sign = "kept"

    def shape(self, *inputs: Shape) -> Shape:
        """Return (channels,)."""
        return (need_map(inputs[0], self.word)[0],)

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return the sums and a division of each channel."""
        return count(inputs[0])

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window | None:
        """Return None: each average sees all positions."""
        return None

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.AdaptiveAvgPool2d(1)` or the like, and a flatten."""
        return TorchForm(
            TorchCall(ranked("nn.AdaptiveAvgPool", inputs[0]), (1,)),
            ranked("F.adaptive_avg_pool", inputs[0]) + "({0}, 1).flatten(1)",
            then=(TorchCall("nn.Flatten"),),
        )
