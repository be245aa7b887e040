"""Layer normalisation."""

from __future__ import annotations

from collections.abc import Sequence

from archdsl.layer import Layer, all_channels, arg, count, given
from archdsl.values import (
    AXES,
    Last,
    Saved,
    Shape,
    Tensor,
    TorchCall,
    TorchForm,
    channels,
    channels_first,
    channels_last,
    is_map,
    ranked,
)

_HELPER = '''
class LayerNorm{axes}d(nn.LayerNorm):
    """Layer normalisation over the channels of {shape}."""

    def forward(self, input: Tensor) -> Tensor:
        x = input.permute{last}
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute{first}
'''


class LayerNorm(Layer):
    """Normalisation over the channels at each position: `layernorm`.

    Source: Ba et al. 2016, equation 3; over the channels of a map as in Liu et al.
    2022, "A ConvNet for the 2020s", section 2.6.
    """

    word = "layernorm"
    also = ("ln", "layernormalization")
    family = "norm"

    eps: float = arg("float", 1e-5, minimum=1e-12, help="number added to the variance")
    shift: bool = arg("bool", True, help="whether it has a bias")

    def tensors(self, *inputs: Shape) -> tuple[Tensor, ...]:
        """Return weight and, unless it has none, bias, with C elements each."""
        shape = (channels(inputs[0]),)
        both = Tensor("weight", shape), Tensor("bias", shape)
        return both if self.shift else both[:1]

    def normed(self, inputs: tuple[Shape, ...]) -> int:
        """Return the channels."""
        return channels(inputs[0])

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return the operations of the formula.

        For each element the sums of mean and variance, a difference, a square, and
        the products and the sum of scale, weight and bias; for each position two
        divisions, the sum with epsilon, a root and its inverse.
        """
        positions = count(output) // channels(output)
        return (7 if self.shift else 6) * count(output) + 5 * positions

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the input, and mean and inverse deviation of each position."""
        positions = count(output) // channels(output)
        return Saved(input=True, own_floats=2 * positions, what="statistics")

    def is_view(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return whether the axes of a map are put back in order."""
        return is_map(output) and not isinstance(output, Last)

    def channels_read(
        self, some: Sequence[int], inputs: tuple[Shape, ...], output: Shape
    ) -> tuple[Sequence[int], ...]:
        """Return all channels."""
        return all_channels(inputs)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.LayerNorm`, which on a map is made to read the channels."""
        kwargs = given(("eps", self.eps, 1e-5), ("bias", self.shift, True))
        if not is_map(output) or isinstance(output, Last):
            return TorchForm(TorchCall("nn.LayerNorm", (channels(output),), kwargs))
        axes = len(output) - 1
        helper = _HELPER.format(
            axes=axes,
            shape=" x ".join(["N", "C", *AXES[axes]]),
            last=channels_last(axes),
            first=channels_first(axes),
        )
        call = TorchCall(ranked("LayerNorm", output), (channels(output),), kwargs)
        return TorchForm(call, helper=helper)
