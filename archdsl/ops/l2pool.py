"""Euclidean norm over all positions."""

from __future__ import annotations

from archdsl.layer import Layer, count, of_one_position, whole_axes
from archdsl.values import (
    Saved,
    Scratch,
    Shape,
    TorchCall,
    TorchForm,
    Window,
)

_HELPER = '''
class L2Pool(nn.Module):
    """The root of the sum of squares of each channel."""

    def __init__(self, *axes: int) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: Tensor) -> Tensor:
        x = torch.norm(x, p=2, dim=self.axes, keepdim=True)
        return x
'''


class L2Pool(Layer):
    """Root of the sum of squares over all positions, as a map of 1x1: `l2pool`.

    Source: Woo et al. 2023, "ConvNeXt V2", section 3, "Global feature aggregation".
    """

    word = "l2pool"
    also = ("l2norm", "normpool", "lppool")
    family = "pool"
    sign = "positive"

    def shape(self, *inputs: Shape) -> Shape:
        """Return the channels, and a size of 1 along each axis."""
        return of_one_position(inputs[0], self.word)

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return a square and a sum per element, and a root per channel."""
        return 2 * count(inputs[0])

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window | None:
        """Return None: each norm sees all positions."""
        return None

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return both, whose quotient is the gradient."""
        return Saved(input=True, output=True)

    def scratch(
        self, inputs: tuple[Shape, ...], output: Shape, gradients: tuple[bool, ...]
    ) -> Scratch:
        """Return the quotient of both, and the mask where the norm is zero."""
        return Scratch(backward=count(inputs[0]), backward_bytes=count(output))

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return the norm along the axes, or a class of its own."""
        axes = whole_axes(inputs[0])
        return TorchForm(
            TorchCall("L2Pool", axes),
            f"torch.norm({{0}}, p=2, dim={axes}, keepdim=True)",
            helper=_HELPER,
        )
