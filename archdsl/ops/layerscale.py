"""A trained factor for each channel."""

from __future__ import annotations

from typing import Any

from archdsl.layer import arg, count
from archdsl.trained import Trained
from archdsl.values import Operations, Saved, Scratch, Shape


class LayerScale(Trained):
    """Multiply each channel by a trained factor: `layerscale 1e-6`.

    The factors are a parameter of the block itself, named after the layer. On a map,
    they have a size of 1 for each axis after the channels; checkpoints whose factors
    have none, or another one for the batch, need `form=vector` or `form=batch`. With
    `form=scalar` or `form=single`, a single factor is trained for all channels, as in
    SkipInit (De and Smith 2020, section 5).

    Source: Touvron et al. 2021, "Going deeper with image transformers", equation 7.
    """

    word = "layerscale"
    channelwise = True
    multiplies = True
    sign_in_torch = "*"

    init: float = arg("float", 1e-6, at=0, help="initial value of the factors")

    def start(self) -> float:
        """Return the value of each factor at the start."""
        return self.init

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

    def label(self) -> str:
        """Return `layerscale 1e-06`."""
        return f"layerscale {float(self.init):g}"
