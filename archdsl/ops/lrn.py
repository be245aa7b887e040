"""Local response normalisation."""

from __future__ import annotations

from collections.abc import Sequence

from archdsl.layer import Layer, arg, count, given, need_map
from archdsl.values import Saved, Scratch, Shape, TorchCall, TorchForm, channels, sizes


class LocalResponseNorm(Layer):
    """Local response normalisation across channels: `lrn 5`.

    `alpha` is divided by the window size, as in torch and Caffe.

    Source: Krizhevsky et al. 2012, section 3.3.
    """

    word = "lrn"
    also = ("localresponsenorm", "localresponsenormalization")
    family = "norm"
    autocast = "wide"

    size: int = arg("int", 5, at=0, minimum=1, help="channels in the window")
    alpha: float = arg("float", 1e-4, help="scale of the squares")
    beta: float = arg("float", 0.75, help="exponent")
    k: float = arg("float", 1.0, help="added before the exponent")

    def shape(self, *inputs: Shape) -> Shape:
        """Return the input's shape."""
        return need_map(inputs[0], self.word)

    def is_positive(self, inputs: Sequence[bool]) -> bool:
        """Return whether the input is, as the divisor is never negative."""
        return inputs[0] and min(self.alpha, self.k) >= 0

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return square, window sum, scale, sum, power and division of each."""
        return (self.size + 4) * count(output)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return what torch's composition of pool, power and division keeps."""
        elements, places = count(inputs[0]), count(sizes(inputs[0]))
        # The padded squares, the scaled sum before the power, and the divisor.
        padded = (inputs[0][0] + self.size - 1) * places
        return Saved(input=True, own_elements=padded + 2 * elements, what="sums")

    def scratch(
        self, inputs: tuple[Shape, ...], output: Shape, gradients: tuple[bool, ...]
    ) -> Scratch:
        """Return the squares, and the divisor before it is raised to its power."""
        elements = count(output)
        padded = elements + (self.size - 1) * count(sizes(output))
        return Scratch(inference=max(padded, 2 * elements), backward=3 * elements)

    def channels_read(
        self, some: Sequence[int], inputs: tuple[Shape, ...], output: Shape
    ) -> tuple[Sequence[int], ...]:
        """Return the channels within their windows."""
        before, after = self.size // 2, (self.size - 1) // 2
        last = channels(output) - 1
        near = [range(max(0, c - before), min(last, c + after) + 1) for c in some]
        return (sorted({c for window in near for c in window}),)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.LocalResponseNorm`."""
        kwargs = given(
            ("alpha", self.alpha, 1e-4), ("beta", self.beta, 0.75), ("k", self.k, 1.0)
        )
        return TorchForm(
            TorchCall("nn.LocalResponseNorm", (self.size,), kwargs),
            "F.local_response_norm({0})",
            (("size", self.size), *kwargs),
        )
