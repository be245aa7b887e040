"""A trained factor for each channel."""

from __future__ import annotations

from typing import Any

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

    The factors are a parameter of the block itself, named after the layer. On a map,
    they have a size of 1 for each axis behind the channels; checkpoints whose factors
    have none, or another one for the batch, need `form=vector` or `form=batch`. With
    `form=scalar`, a single factor is trained for all channels, as in SkipInit (De and
    Smith 2020, section 5).

    Source: Touvron et al. 2021, "Going deeper with image transformers", equation 7.
    """

    word = "layerscale"
    family = "norm"
    autocast = "wide"
    channelwise = True
    multiplies = True

    init: float = arg("float", 1e-6, at=0, help="value of the factors at the start")

    form: str | None = arg(
        "choice",
        None,
        choices=("vector", "batch", "scalar"),
        help="sizes of the factors: `vector` for (C), `batch` for (1, C, 1, 1), "
        "`scalar` for ()",
    )

    def tensors(self, *inputs: Shape) -> tuple[Tensor, ...]:
        """Return the factors: (C, 1, 1) or the like, (C) with channels last."""
        return (Tensor("", self._sizes(inputs[0])),)

    def multipliers(self, like: Any, *own: Any) -> Any:
        """Return its own, the same for all channels if it has only one."""
        return like * own[0].reshape(-1)

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
        start = TorchCall("torch.full", (list(self._sizes(inputs[0])), self.init))
        after = _after(inputs[0])
        own = "{self}"
        if self.form == "vector" and after:
            own += f".view{(1, -1, *after)}"
        return TorchForm(TorchCall("nn.Parameter", (start,)), f"{own} * {{0}}")

    def label(self) -> str:
        """Return `layerscale 1e-06`."""
        return f"layerscale {float(self.init):g}"

    def _sizes(self, shape: Shape) -> Shape:
        """Return the sizes of the factors."""
        if self.form == "scalar":
            return ()
        before = (1,) if self.form == "batch" else ()
        after = () if self.form == "vector" else _after(shape)
        if isinstance(shape, Last) and before:
            return (*before, *ones(len(sizes(shape))), channels(shape))
        return (*before, channels(shape), *after)


def _after(shape: Shape) -> Shape:
    """Return a size for each axis that comes after the channels."""
    return () if isinstance(shape, Last) else ones(len(sizes(shape)))
