"""Average pooling to a given size."""

from __future__ import annotations

from archdsl.layer import Layer, adaptive, adaptive_taps, arg, count, need_axes
from archdsl.values import (
    Saved,
    Shape,
    TorchCall,
    TorchForm,
    Window,
    ranked,
    show_shape,
)


class AdaptiveAvgPool(Layer):
    """Average pooling to a given output size: `adaptiveavgpool 7x7`.

    Output unit i averages inputs floor(i * n / m) to ceil((i + 1) * n / m) - 1
    along an axis of n inputs and m outputs.
    """

    word = "adaptiveavgpool"
    family = "pool"
    sign = "kept"

    size: tuple[int, ...] = arg("window", at=0, minimum=1, help="output size, as 7x7")

    def shape(self, *inputs: Shape) -> Shape:
        """Return (channels, *size)."""
        channels = need_axes(inputs[0], self)[0]
        return (channels, *self.size)

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return the additions of all windows, and one division per output."""
        return adaptive_taps(inputs[0], output)

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window | None:
        """Return the hull of the windows; None if there is a single one."""
        return None if count(self.size) == 1 else adaptive(inputs[0], output)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the input, unless the output is 1x1, which torch takes as a mean."""
        return Saved(input=count(self.size) > 1)

    def is_view(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return whether it has one axis, as torch then pools over two of them."""
        return len(output) == 2

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.AdaptiveAvgPool2d`, or that for other axes."""
        return TorchForm(
            TorchCall(ranked("nn.AdaptiveAvgPool", output), (self.size,)),
            ranked("F.adaptive_avg_pool", output) + "({0}, {output_size})",
            (("output_size", self.size),),
        )

    def label(self) -> str:
        """Return `adaptiveavgpool 7x7`."""
        return f"{self.word} {show_shape(self.size)}"
