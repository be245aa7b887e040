"""A trained summand for each channel."""

from __future__ import annotations

from archdsl.layer import arg, count
from archdsl.trained import Trained
from archdsl.values import Operations, Shape


class LayerShift(Trained):
    """Add a trained number to each channel: `layershift`.

    The summands are a parameter of the block itself, named after the layer, with the
    sizes that the factors of `layerscale` have.

    Source: Zhang et al. 2019, "Fixup initialization", section 3, for `form=single`.
    """

    word = "layershift"
    also = ("layerbias", "addbias", "trainedbias")
    sign_in_torch = "+"

    init: float = arg("float", 0.0, at=0, help="initial value of the summands")

    def start(self) -> float:
        """Return the value of each summand at the start."""
        return self.init

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return one addition per element."""
        return count(output)

    def operations(
        self, inputs: tuple[Shape, ...], output: Shape, training: bool
    ) -> Operations:
        """Return them as additions of a bias."""
        return self.all_for("bias", inputs, output)

    def shares_gradient(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return True: the gradient goes through."""
        return True

    def label(self) -> str:
        """Return `layershift`, with its start unless that is 0."""
        return self.word + (f" {float(self.init):g}" if self.init else "")
