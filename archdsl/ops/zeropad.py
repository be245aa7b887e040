"""Zeros around a map."""

from __future__ import annotations

from archdsl.layer import Layer, Mismatch, arg, need_map
from archdsl.values import (
    Shape,
    TorchCall,
    TorchForm,
    Window,
    ones,
    ranked,
    show_shape,
    sliding,
)

# The sides as torch orders them, the last axis first.
_SIDES = ("left", "right", "top", "bottom", "front", "back")


class ZeroPad(Layer):
    """Add zeros at any side of a map: `zeropad right=1 bottom=1`.

    To pad all sides alike, use the `pad` of a convolution or pool. `zeropad left=2`
    before a convolution over time makes it causal: no output sees what comes later.
    """

    word = "zeropad"
    also = ("zeropadding",)
    family = "reshape"
    sign = "kept"

    left: int = arg("int", 0, minimum=0, help="columns before the first")
    right: int = arg("int", 0, minimum=0, help="columns after the last")
    top: int = arg("int", 0, minimum=0, help="rows before the first")
    bottom: int = arg("int", 0, minimum=0, help="rows after the last")
    front: int = arg("int", 0, minimum=0, help="slices before the first")
    back: int = arg("int", 0, minimum=0, help="slices after the last")

    def shape(self, *inputs: Shape) -> Shape:
        """Return the channels, and the size along each axis with its padding."""
        channels, *sizes = need_map(inputs[0], self.word)
        absent = self._ends[: len(self._ends) - len(sizes)]
        if any(map(any, absent)):
            sides = "`left` and `right`"
            if len(sizes) == 2:
                sides = "`left`, `right`, `top` and `bottom`"
            raise Mismatch(
                f"zeropad: its input is {show_shape(inputs[0])}, which only has the "
                f"sides {sides}",
                help="leave the other sides out",
            )
        pairs = zip(sizes, self._ends[-len(sizes) :], strict=True)
        return (channels, *(n + before + after for n, (before, after) in pairs))

    @property
    def _ends(self) -> tuple[tuple[int, int], ...]:
        """What is added before and after, along depth, height and width."""
        rows, columns = (self.top, self.bottom), (self.left, self.right)
        return (self.front, self.back), rows, columns

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window:
        """Return a single position, shifted by the padding."""
        axes = len(output) - 1
        return sliding(ones(axes), pad=tuple([n for n, _ in self._ends[-axes:]]))

    def passes(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return whether there are no zeros to add."""
        return inputs == (output,)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.ZeroPad2d`, or that for other axes."""
        names = _SIDES[: 2 * (len(output) - 1)]
        sides = tuple([getattr(self, name) for name in names])
        written = ", ".join([f"{{{name}}}" for name in names])
        return TorchForm(
            TorchCall(ranked("nn.ZeroPad", output), (sides,)),
            f"F.pad({{0}}, ({written}))",
            tuple(zip(names, sides, strict=True)),
        )

    def label(self) -> str:
        """Return `zeropad 0 1 0 1`, the sides as torch orders them."""
        sides = [getattr(self, name) for name in _SIDES]
        while len(sides) > 4 and not any(sides[-2:]):
            del sides[-2:]
        return " ".join([self.word, *(str(int(n)) for n in sides)])
