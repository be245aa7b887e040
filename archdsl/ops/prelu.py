"""Rectified linear unit with a trained slope."""

from __future__ import annotations

from archdsl.layer import Layer, Mismatch, arg, count, given
from archdsl.values import Last, Saved, Scratch, Shape, Tensor, TorchCall, TorchForm


class PReLU(Layer):
    """Rectified linear unit with a trained slope below zero: `prelu`.

    One slope for all, or one for each channel with `per_channel=true`.

    Source: He et al. 2015, "Delving deep into rectifiers", equation 1.
    """

    word = "prelu"
    family = "activation"
    autocast = "lower"
    sign = "kept"

    init: float = arg("float", 0.25, at=0, help="initial slope")
    per_channel: bool = arg(
        "bool", False, help="whether each channel has its own slope"
    )

    def shape(self, *inputs: Shape) -> Shape:
        """Return the input's shape."""
        if self.per_channel and isinstance(inputs[0], Last):
            raise Mismatch(
                "prelu: slopes per channel need the channels first",
                help="put `permute first` before it, or leave `per_channel` out",
            )
        return inputs[0]

    def _slopes(self, shape: Shape) -> int:
        return shape[0] if self.per_channel else 1

    def tensors(self, *inputs: Shape) -> tuple[Tensor, ...]:
        """Return weight (1, or C)."""
        return (Tensor("weight", (self._slopes(inputs[0]),)),)

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return one comparison and one multiplication per element."""
        return 2 * count(output)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the input."""
        return Saved(input=True)

    def scratch(
        self, inputs: tuple[Shape, ...], output: Shape, gradients: tuple[bool, ...]
    ) -> Scratch:
        """Return the slopes' gradient before it is summed over the positions.

        torch computes the input's gradient in any case, and frees it before that sum if
        it is not needed.
        """
        whole = count(output)
        if gradients[0]:
            return Scratch(backward=whole)
        return Scratch(backward=2 * whole, late=self._slopes(inputs[0]))

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.PReLU`."""
        kwargs = given(
            ("num_parameters", self._slopes(inputs[0]), 1), ("init", self.init, 0.25)
        )
        return TorchForm(TorchCall("nn.PReLU", (), kwargs))
