"""Average over all positions."""

from __future__ import annotations

from ..layer import Layer, need_map
from ..values import Shape, TorchCall, TorchForm


class GlobalAvgPool(Layer):
    """Average of each channel over all positions, as a vector: `globalavgpool`.

    Source: Lin et al. 2013, "Network in Network", section 3.2.
    """

    word = "globalavgpool"
    family = "pool"
    local = False

    def shape(self, *inputs: Shape) -> Shape:
        """Return (channels,)."""
        return (need_map(inputs[0], self.word)[0],)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.AdaptiveAvgPool2d(1)` and a flatten."""
        return TorchForm(
            TorchCall("nn.AdaptiveAvgPool2d", (1,)),
            "F.adaptive_avg_pool2d({0}, 1).flatten(1)",
            then=(TorchCall("nn.Flatten"),),
        )
