"""What fully connected layers have in common: their costs and torch calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .layer import Layer, Mismatch, all_channels, arg, conv_tensors, count, given
from .values import (
    Kernel,
    Last,
    Saved,
    Shape,
    Tensor,
    TorchCall,
    TorchForm,
    Window,
    channels,
    pointwise,
    pointwise_kernel,
    show_shape,
    with_channels,
)


class Connected(Layer):
    """Base of the fully connected layers.

    MACs: input features x output features, at each position.
    """

    family = "linear"
    autocast = "lower"
    weighted = True

    width: int = arg("int", at=0, minimum=1, help="output features")
    bias: bool | None = arg("bool", None, help="whether it has a bias")

    def shape(self, *inputs: Shape) -> Shape:
        """Return (width,), or the sizes of the map and the width."""
        if isinstance(inputs[0], Last):
            return with_channels(inputs[0], self.width)
        if len(inputs[0]) != 1:
            raise Mismatch(
                f"{self.word} needs a vector, but its input is a map of "
                f"{show_shape(inputs[0])}",
                help="put `flatten` or `globalavgpool` before it, or `permute last` "
                "to act on each position",
            )
        return (self.width,)

    def tensors(self, *inputs: Shape) -> tuple[Tensor, ...]:
        """Return weight (out, in) and bias (out)."""
        weight = (self.width, channels(inputs[0]))
        return conv_tensors(weight, self.bias is not False, self.width)

    def is_view(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return whether it adds a bias to positions as rows, and returns a view."""
        return isinstance(output, Last) and self.bias is not False

    def as_kernel(self, inputs: tuple[Shape, ...], output: Shape) -> Kernel | None:
        """Return a kernel of a single position."""
        return pointwise_kernel(output)

    def of_kernel(self, weight: Any) -> Any:
        """Return the weight without the kernel's height and width."""
        return weight.reshape(*weight.shape[:2])

    def kernel_of(self, own: Mapping[str, Any]) -> tuple[Any, Any | None]:
        """Return its weight with a height and a width of 1, and its bias."""
        weight = self.weight_of(own)
        return weight.reshape(*weight.shape, 1, 1), own.get("bias")

    def macs(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return input features x output features, at each position."""
        return count(inputs[0]) * self.width

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return the additions of the bias."""
        return count(output) if self.bias is not False else 0

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window | None:
        """Return None on a vector: each output feature sees all input features."""
        return pointwise(output) if isinstance(output, Last) else None

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the input, for the weight's gradient."""
        return Saved(input=True)

    def channels_read(
        self, some: Sequence[int], inputs: tuple[Shape, ...], output: Shape
    ) -> tuple[Sequence[int], ...]:
        """Return all channels."""
        return all_channels(inputs)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.Linear`."""
        kwargs = given(("bias", self.bias is not False, True))
        features = channels(inputs[0]), self.width
        return TorchForm(TorchCall("nn.Linear", features, kwargs))

    def label(self) -> str:
        """Return `linear 1000`."""
        return f"{self.word} {self.width}"
