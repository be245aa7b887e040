"""Max pooling to a given size."""

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


class AdaptiveMaxPool(Layer):
    """Max pooling to a given output size: `adaptivemaxpool 7x7`.

    Its windows are those of `adaptiveavgpool`.
    """

    word = "adaptivemaxpool"
    family = "pool"
    sign = "kept"
    maximum = True

    size: tuple[int, ...] = arg("window", at=0, minimum=1, help="output size, as 7x7")

    def shape(self, *inputs: Shape) -> Shape:
        """Return (channels, *size)."""
        channels = need_axes(inputs[0], self)[0]
        return (channels, *self.size)

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return one comparison less than the window's area, per output."""
        return adaptive_taps(inputs[0], output) - count(output)

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window | None:
        """Return the hull of the windows; None if there is a single one."""
        return None if count(self.size) == 1 else adaptive(inputs[0], output)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the input, and the winner of each window as a 64-bit index."""
        return Saved(input=True, own_bytes=8 * count(output), what="indices")

    def is_view(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return whether it has one axis, as torch then pools over two of them."""
        return len(output) == 2

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.AdaptiveMaxPool2d`, or that for other axes."""
        return TorchForm(
            TorchCall(ranked("nn.AdaptiveMaxPool", output), (self.size,)),
            ranked("F.adaptive_max_pool", output) + "({0}, {output_size})",
            (("output_size", self.size),),
        )

    def label(self) -> str:
        """Return `adaptivemaxpool 7x7`."""
        return f"{self.word} {show_shape(self.size)}"
