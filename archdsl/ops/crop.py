"""Cropping to the size of another map."""

from __future__ import annotations

from typing import Final

from archdsl.layer import Layer, Mismatch, count, need_map
from archdsl.values import (
    Saved,
    Scratch,
    Shape,
    TorchCall,
    TorchForm,
    Window,
    ones,
    sliding,
)

# How the class crops, by the number of axes.
_HELPERS: Final = {
    1: '''
class CenterCrop1d(nn.Module):
    """The middle of a sequence, as long as another one."""

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        length = other.shape[-1]
        first = (x.shape[-1] - length) // 2
        return x[..., first : first + length]
''',
    2: '''
class CenterCrop(nn.Module):
    """The middle of a map, as high and wide as another map."""

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        height, width = other.shape[-2:]
        top = (x.shape[-2] - height) // 2
        left = (x.shape[-1] - width) // 2
        return x[..., top : top + height, left : left + width]
''',
    3: '''
class CenterCrop3d(nn.Module):
    """The middle of a volume, as deep, high and wide as another one."""

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        depth, height, width = other.shape[-3:]
        front = (x.shape[-3] - depth) // 2
        top = (x.shape[-2] - height) // 2
        left = (x.shape[-1] - width) // 2
        x = x[..., front : front + depth, top : top + height, left : left + width]
        return x
''',
}


class Crop(Layer):
    """Crop a map to the height and width of another: `crop { @skip | }`.

    The middle of the first branch is kept; of the second, only the size is read.

    Source: Ronneberger et al. 2015, section 2.
    """

    word = "crop"
    also = ("centercrop",)
    family = "reshape"
    views = True
    arity = None
    sources = 1
    sign = "kept"

    def shape(self, *inputs: Shape) -> Shape:
        """Return (channels of the first, sizes of the second)."""
        if len(inputs) > 2:
            raise Mismatch(
                f"crop takes two branches, not {len(inputs)}",
                help="the first one is cropped to the size of the second",
            )
        channels, *sizes = need_map(inputs[0], self.word)
        _, *wanted = need_map(inputs[1], self.word, axes=len(sizes))
        if any(w > n for w, n in zip(wanted, sizes, strict=True)):
            raise Mismatch(
                "crop: the second branch is larger than the first",
                help="put the larger map first",
                code="A0301",
            )
        return (channels, *wanted)

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window:
        """Return a single position, shifted by what is cropped before it."""
        pads = zip(inputs[0][1:], output[1:], strict=True)
        cut = tuple(-((n - m) // 2) for n, m in pads)
        return sliding(ones(len(cut)), pad=cut)

    def aliases(self, training: bool) -> bool:
        """Return that the output is a view."""
        return True

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return nothing: the gradient is padded."""
        return Saved()

    def shares_gradient(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return whether it keeps all; else the gradient gets zeros around it."""
        return inputs[0] == output

    def scratch(
        self, inputs: tuple[Shape, ...], output: Shape, gradients: tuple[bool, ...]
    ) -> Scratch:
        """Return the gradient that is padded along all cut axes but the first.

        torch pads it along one axis after the other, from the last one.
        """
        whole, kept = inputs[0], output
        cut = [axis for axis in range(1, len(kept)) if whole[axis] > kept[axis]]
        if not cut or not gradients[0]:
            return Scratch()
        padded = (*kept[: cut[0] + 1], *whole[cut[0] + 1 :])
        return Scratch(backward=count(padded) - count(kept))

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return a module that crops."""
        axes = len(output) - 1
        name = "CenterCrop" if axes == 2 else f"CenterCrop{axes}d"
        return TorchForm(TorchCall(name), helper=_HELPERS[axes])
