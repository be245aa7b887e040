"""Product of branches."""

from __future__ import annotations

from collections.abc import Sequence

from archdsl.layer import Differ, Layer, count, need_equal, shape_difference
from archdsl.values import (
    Last,
    Saved,
    Scratch,
    Shape,
    TorchForm,
    channels,
    is_map,
    ones,
    with_channels,
    with_sizes,
)

_HELP = "make the branches agree, or one of them a gate of size 1x1 or one channel"


class Mul(Layer):
    """Element-wise product of branches: `mul { a | b }`.

    Branches have equal shapes, or are gates: a gate of 1x1 scales each channel (Hu et
    al. 2018, equation 4), and one of a single channel scales each position (Woo et
    al. 2018, equation 2).
    """

    word = "mul"
    also = ("multiply", "times")
    family = "merge"
    arity = None
    sign = "kept"

    def shape(self, *inputs: Shape) -> Shape:
        """Return the common shape, that of the largest branch along each axis."""
        ranks = {(type(shape) is Last, len(shape)) for shape in inputs}
        if len(ranks) > 1 or not is_map(inputs[0]):
            need_equal(self.word, inputs, wide=True)
            return inputs[0]
        largest = tuple(max(sizes) for sizes in zip(*inputs, strict=True))
        whole = Last(largest) if isinstance(inputs[0], Last) else largest
        full = inputs.index(whole) if whole in inputs else 0
        for place, shape in enumerate(inputs):
            if not _fits(shape, whole):
                base = full if place != full else 1
                aspect = shape_difference(inputs[base], shape, wide=True)
                raise Differ(self.word, aspect, (base, place), _HELP)
        return whole

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return one multiplication less than there are branches, per element."""
        return sum(self._products(inputs))

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the factors; each is needed for the other's gradient."""
        return Saved(factors=True)

    def scratch(
        self, inputs: tuple[Shape, ...], output: Shape, gradients: tuple[bool, ...]
    ) -> Scratch:
        """Return intermediate products, and gradients of gates before their sums."""
        if len(inputs) > 2:
            # In training, each product of two is recorded; see `passes/tape.py`.
            more = self._products(inputs)[-2]
            return Scratch(more, more)
        whole = count(output)
        sizes = [count(shape) for shape in inputs]
        made = [n for n, wanted in zip(sizes, gradients, strict=True) if wanted]
        summed = [n for n in made if n < whole][:1]
        return Scratch(backward=whole * len(made) + sum(summed) - sum(made))

    def _products(self, inputs: tuple[Shape, ...]) -> list[int]:
        """Return the elements of the product of the first two, three and so on."""
        firsts = range(2, len(inputs) + 1)
        return [count(self.shape(*inputs[:n])) for n in firsts]

    def channels_read(
        self, some: Sequence[int], inputs: tuple[Shape, ...], output: Shape
    ) -> tuple[Sequence[int], ...]:
        """Return the same channels, or the only one, which multiplies all of them."""
        return tuple([some if channels(shape) > 1 else (0,) for shape in inputs])

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return the product of the branches."""
        return TorchForm(None, "{**}")


def _fits(shape: Shape, whole: Shape) -> bool:
    gates = with_sizes(whole, ones(len(whole) - 1)), with_channels(whole, 1)
    return shape in (whole, *gates)
