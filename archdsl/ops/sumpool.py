"""Sum over all positions."""

from __future__ import annotations

from archdsl.layer import Layer, count, of_one_position, whole_axes
from archdsl.values import (
    Shape,
    TorchCall,
    TorchForm,
    Window,
)

_HELPER = '''
class SumPool(nn.Module):
    """The sum of each channel over all positions."""

    def __init__(self, *axes: int) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: Tensor) -> Tensor:
        return torch.sum(x, dim=self.axes, keepdim=True)
'''


class SumPool(Layer):
    """Sum of each channel over all positions, as a map of 1x1: `sumpool`.

    After a product with `spatialsoftmax`, it is a weighted average. `adaptiveavgpool
    1x1` is an average in which all positions have equal weight.

    Source: Cao et al. 2019, "GCNet", equation 4, for a sum of weighted positions.
    """

    word = "sumpool"
    also = ("globalsumpool", "spatialsum")
    family = "pool"
    sign = "kept"

    def shape(self, *inputs: Shape) -> Shape:
        """Return the channels, and a size of 1 along each axis."""
        return of_one_position(inputs[0], self.word)

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return one addition less than there are positions, for each channel."""
        return count(inputs[0]) - count(output)

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window | None:
        """Return None: each sum sees all positions."""
        return None

    def shares_gradient(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return True: that of each position is the sum's, as a view."""
        return True

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return the sum along the axes, or a class of its own."""
        axes = whole_axes(inputs[0])
        return TorchForm(
            TorchCall("SumPool", axes),
            f"torch.sum({{0}}, dim={axes}, keepdim=True)",
            helper=_HELPER,
        )
