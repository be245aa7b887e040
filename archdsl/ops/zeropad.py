"""Zeros around a map."""

from __future__ import annotations

from archdsl.layer import Layer, arg, need_map
from archdsl.values import Shape, TorchCall, TorchForm, Window


class ZeroPad(Layer):
    """Add zeros at any side of a map: `zeropad right=1 bottom=1`.

    To pad all sides alike, use the `pad` of a convolution or pool.
    """

    word = "zeropad"
    also = ("pad", "padding", "zeropadding")
    family = "reshape"
    sign = "kept"

    left: int = arg("int", 0, minimum=0, help="columns before the first")
    right: int = arg("int", 0, minimum=0, help="columns after the last")
    top: int = arg("int", 0, minimum=0, help="rows before the first")
    bottom: int = arg("int", 0, minimum=0, help="rows after the last")

    def shape(self, *inputs: Shape) -> Shape:
        """Return (channels, height + top + bottom, width + left + right)."""
        channels, height, width = need_map(inputs[0], self.word)
        height = height + self.top + self.bottom
        return (channels, height, width + self.left + self.right)

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window:
        """Return a single position, shifted by the padding."""
        return Window(pad=(self.top, self.left))

    def passes(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return whether there are no zeros to add."""
        return inputs == (output,)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.ZeroPad2d`."""
        sides = self.left, self.right, self.top, self.bottom
        names = ("left", "right", "top", "bottom")
        return TorchForm(
            TorchCall("nn.ZeroPad2d", (sides,)),
            "F.pad({0}, ({left}, {right}, {top}, {bottom}))",
            tuple(zip(names, sides, strict=True)),
        )

    def label(self) -> str:
        """Return `zeropad 0 1 0 1`, the sides as torch orders them."""
        return f"{self.word} {self.left} {self.right} {self.top} {self.bottom}"
