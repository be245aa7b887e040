"""Cropping to the size of another map."""

from __future__ import annotations

from archdsl.layer import Layer, Mismatch, need_map
from archdsl.values import Saved, Shape, TorchCall, TorchForm, Window

_HELPER = '''
class CenterCrop(nn.Module):
    """The middle of a map, as high and wide as another map."""

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        height, width = other.shape[-2:]
        top = (x.shape[-2] - height) // 2
        left = (x.shape[-1] - width) // 2
        return x[..., top : top + height, left : left + width]
'''


class Crop(Layer):
    """Crop a map to the height and width of another: `crop { @skip | }`.

    The middle of the first branch is kept; of the second, only the size is read.

    Source: Ronneberger et al. 2015, section 2.
    """

    word = "crop"
    also = ("centercrop",)
    family = "reshape"
    arity = None
    sources = 1
    sign = "kept"

    def shape(self, *inputs: Shape) -> Shape:
        """Return (channels of the first, height and width of the second)."""
        if len(inputs) > 2:
            raise Mismatch(
                f"crop takes two branches, not {len(inputs)}",
                help="the first one is cropped to the size of the second",
            )
        channels, *sizes = need_map(inputs[0], self.word)
        _, *wanted = need_map(inputs[1], self.word)
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
        return Window(pad=tuple(-((n - m) // 2) for n, m in pads))

    def aliases(self, training: bool) -> bool:
        """Return that the output is a view."""
        return True

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return nothing: the gradient is padded."""
        return Saved()

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return a module that crops."""
        return TorchForm(TorchCall("CenterCrop"), helper=_HELPER)
