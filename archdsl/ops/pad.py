"""A map continued beyond its border by what is in it."""

from __future__ import annotations

from typing import Final

from archdsl.layer import Layer, Mismatch, arg, need_axes
from archdsl.values import (
    Reflected,
    Replicated,
    Saved,
    Shape,
    TorchCall,
    TorchForm,
    Window,
    ones,
    ranked,
    show_shape,
    sliding,
)

_CLASSES: Final = {"reflect": "nn.ReflectionPad", "replicate": "nn.ReplicationPad"}
# Fields are followed through a border position by position.
_MOST: Final = 1 << 18
# What the sizes are called in the function, the last axis first.
_NAMES: Final = ("columns", "rows", "slices")


class Pad(Layer):
    """Continue a map beyond its border: `pad 3x3 reflect`.

    `reflect` mirrors it at the border, whose positions are not repeated; `replicate`
    repeats them. A convolution behind it has `pad=0`. For zeros, use the `pad` of a
    convolution, or `zeropad`.

    Source: for `reflect`, Zhu et al. 2017, "Unpaired image-to-image translation using
    cycle-consistent adversarial networks", section 7.2.
    """

    word = "pad"
    also = ("padding", "reflectionpad", "replicationpad", "reflectpad", "mirrorpad")
    sign = "kept"

    size: tuple[int, ...] = arg(
        "window", at=0, minimum=0, help="positions on each side, as 3x3"
    )
    mode: str = arg(
        "choice", at=1, choices=("reflect", "replicate"), help="what stands there"
    )

    def shape(self, *inputs: Shape) -> Shape:
        """Return the channels, and the size along each axis with both sides."""
        channels, *sizes = need_axes(inputs[0], self)
        if self.mode == "reflect" and any(
            pad >= size for pad, size in zip(self.size, sizes, strict=True)
        ):
            raise Mismatch(
                f"pad: {show_shape(inputs[0])} has no {show_shape(self.size)} "
                "positions behind its border to reflect",
                help="reflect fewer than the map has, or write `replicate`",
            )
        pairs = zip(sizes, self.size, strict=True)
        whole = [size + 2 * pad for size, pad in pairs]
        if max(whole) > _MOST:
            raise Mismatch(
                f"pad: {max(whole):,} positions along an axis are more than {_MOST:,}",
                help="what each of them sees is found one by one; use `zeropad`",
                code="A0903",
            )
        return (channels, *whole)

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window:
        """Return a single position, shifted by the padding."""
        kind = Reflected if self.mode == "reflect" else Replicated
        return kind(*sliding(ones(len(self.size)), pad=self.size))

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the input, which torch keeps for its size."""
        return Saved(input=True)

    def passes(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return whether there is nothing to add."""
        return inputs == (output,)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.ReflectionPad2d` or the like."""
        named = list(zip(_NAMES, reversed(self.size), strict=False))
        sides = tuple([pad for _, pad in named for _ in range(2)])
        written = ", ".join([f"{{{name}}}, {{{name}}}" for name, _ in named])
        return TorchForm(
            TorchCall(ranked(_CLASSES[self.mode], output), (sides,)),
            f'F.pad({{0}}, ({written}), mode="{self.mode}")',
            tuple(named),
        )

    def label(self) -> str:
        """Return `pad 3x3 reflect`."""
        return f"pad {show_shape(self.size)} {self.mode}"
