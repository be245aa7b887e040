"""A fixed factor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from archdsl.layer import Layer, arg, count
from archdsl.values import Shape, TorchCall, TorchForm

_HELPER = '''
class Scale(nn.Module):
    """Multiply by a fixed factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor
'''


class Scale(Layer):
    """Multiply by a fixed factor: `scale 0.2`.

    `layerscale` trains a factor for each channel.

    Source: Szegedy et al. 2016, "Inception-v4, Inception-ResNet and the impact of
    residual connections on learning", section 3.3.
    """

    word = "scale"
    channelwise = True
    multiplies = True

    factor: float = arg("float", at=0, help="factor for each value")

    def multipliers(self, like: Any, *own: Any) -> Any:
        """Return the factor, once for each channel."""
        return like * float(self.factor)

    def is_positive(self, inputs: Sequence[bool]) -> bool:
        """Return whether neither the input nor the factor is negative."""
        return inputs[0] and self.factor >= 0

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return one multiplication per element."""
        return count(output)

    def erases(self, training: bool) -> bool:
        """Return whether the factor is zero."""
        return self.factor == 0

    def passes(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return whether the factor is one."""
        return self.factor == 1

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return a product, or a class of its own."""
        return TorchForm(
            TorchCall("Scale", (self.factor,)),
            "{0} * {factor}",
            (("factor", self.factor),),
            helper=_HELPER,
        )

    def label(self) -> str:
        """Return `scale 0.2`."""
        return f"scale {float(self.factor):g}"
