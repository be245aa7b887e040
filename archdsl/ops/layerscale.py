"""A trained factor for each channel."""

from __future__ import annotations

from archdsl.layer import Layer, arg, count
from archdsl.values import (
    Last,
    Operations,
    Saved,
    Scratch,
    Shape,
    Tensor,
    TorchCall,
    TorchForm,
    channels,
    ones,
    sizes,
)


class LayerScale(Layer):
    """Multiply each channel by a trained factor: `layerscale 1e-6`.

    The factors are a parameter of the block itself, named after the layer.

    Source: Touvron et al. 2021, "Going deeper with image transformers", equation 7.
    """

    word = "layerscale"
    family = "norm"
    autocast = "wide"
    channelwise = True

    init: float = arg("float", 1e-6, at=0, help="value of the factors at the start")

    def tensors(self, *inputs: Shape) -> tuple[Tensor, ...]:
        """Return the factors: (C, 1, 1) or the like, (C) with channels last."""
        return (Tensor("", _sizes(inputs[0])),)

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return one multiplication per element."""
        return count(output)

    def operations(
        self, inputs: tuple[Shape, ...], output: Shape, training: bool
    ) -> Operations:
        """Return them as other operations: nothing is normalised."""
        return self.all_for("other", inputs, output)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the input, for the factors' gradient."""
        return Saved(input=True)

    def scratch(
        self, inputs: tuple[Shape, ...], output: Shape, gradients: tuple[bool, ...]
    ) -> Scratch:
        """Return the factors' gradient before it is summed over the positions."""
        return Scratch(backward=count(output))

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return a parameter and a product."""
        start = TorchCall("torch.full", (list(_sizes(inputs[0])), self.init))
        return TorchForm(TorchCall("nn.Parameter", (start,)), "{self} * {0}")

    def label(self) -> str:
        """Return `layerscale 1e-06`."""
        return f"layerscale {float(self.init):g}"


def _sizes(shape: Shape) -> Shape:
    """Return sizes that make the factors broadcast over the channels."""
    after = () if isinstance(shape, Last) else ones(len(sizes(shape)))
    return (channels(shape), *after)
