"""Fully connected layer."""

from __future__ import annotations

from archdsl.layer import Layer, Mismatch, arg, conv_tensors, count, given
from archdsl.values import (
    Saved,
    Shape,
    Tensor,
    TorchCall,
    TorchForm,
    Window,
    show_shape,
)


class Linear(Layer):
    """Fully connected layer on a vector: `linear 1000`.

    MACs: input features x output features.
    """

    word = "linear"
    family = "linear"
    weighted = True

    width: int = arg("int", at=0, minimum=1, help="output features")
    bias: bool | None = arg("bool", None, help="whether a bias is added")

    def shape(self, *inputs: Shape) -> Shape:
        """Return (width,)."""
        if len(inputs[0]) != 1:
            raise Mismatch(
                "linear needs a vector, and its input is a map of "
                f"{show_shape(inputs[0])}",
                help="put `flatten` or `globalavgpool` before it",
            )
        return (self.width,)

    def tensors(self, *inputs: Shape) -> tuple[Tensor, ...]:
        """Return weight (out, in) and bias (out)."""
        weight = (self.width, inputs[0][0])
        return conv_tensors(weight, self.bias is not False, self.width)

    def macs(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return input features x output features."""
        return count(inputs[0]) * count(output)

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return the sums of the bias."""
        return count(output) if self.bias is not False else 0

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window | None:
        """Return None: each output feature sees all input features."""
        return None

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the input, for the weight's gradient."""
        return Saved(input=True)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.Linear`."""
        kwargs = given(("bias", self.bias is not False, True))
        return TorchForm(TorchCall("nn.Linear", (inputs[0][0], self.width), kwargs))

    def label(self) -> str:
        """Return `linear 1000`."""
        return f"linear {self.width}"
