"""Product of branches."""

from __future__ import annotations

from archdsl.layer import Differ, Layer, count, difference, need_equal
from archdsl.values import Last, Saved, Shape, TorchForm

_HELP = "make the branches agree, or one of them a gate of size 1x1 or one channel"


class Mul(Layer):
    """Element-wise product of branches: `mul { a | b }`.

    Branches have equal shapes, or are gates: a gate of 1x1 scales each channel (Hu et
    al. 2018, equation 4), and one of a single channel scales each position (Woo et
    al. 2018, equation 2).
    """

    word = "mul"
    family = "merge"
    arity = None

    def shape(self, *inputs: Shape) -> Shape:
        """Return the common shape, that of the largest branch along each axis."""
        if not all(_is_plain(shape) for shape in inputs):
            need_equal(self.word, inputs, wide=True)
            return inputs[0]
        whole = tuple(max(sizes) for sizes in zip(*inputs, strict=True))
        full = inputs.index(whole) if whole in inputs else 0
        for place, shape in enumerate(inputs):
            if not _fits(shape, whole):
                base = full if place != full else 1
                aspect = difference(inputs[base], shape, wide=True)
                raise Differ(self.word, aspect, (base, place), _HELP)
        return whole

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return one product less than there are branches, each."""
        firsts = range(2, len(inputs) + 1)
        return sum(count(self.shape(*inputs[:n])) for n in firsts)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the factors, each the other's gradient."""
        return Saved(factors=True)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return the product of the branches."""
        return TorchForm(None, "{**}")


def _is_plain(shape: Shape) -> bool:
    return len(shape) == 3 and not isinstance(shape, Last)


def _fits(shape: Shape, whole: Shape) -> bool:
    return shape in (whole, (whole[0], 1, 1), (1, *whole[1:]))
