"""Dropout."""

from __future__ import annotations

from archdsl.layer import Layer, arg, count
from archdsl.values import Operations, Saved, Shape, TorchCall, TorchForm


class Dropout(Layer):
    """Zero each element with probability p while training: `dropout 0.5`.

    Source: Srivastava et al. 2014, section 4.
    """

    word = "dropout"
    family = "dropout"
    shifts_variance = True
    sign = "kept"

    p: float = arg(
        "float", 0.5, at=0, minimum=0, maximum=1, help="probability of a zero"
    )

    def operations(
        self, inputs: tuple[Shape, ...], output: Shape, training: bool
    ) -> Operations:
        """Return in training a draw, its scaling and a product each.

        If p is 1, a single product with zero is enough.
        """
        if not training or self.p == 0:
            return Operations()
        return Operations(other=count(output) * (1 if self.p == 1 else 3))

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the mask, or a single zero if everything is dropped."""
        if self.p == 1:
            return Saved(batch_elements=1, what="mask")
        return Saved(own_elements=count(output), what="mask") if self.p > 0 else Saved()

    def aliases(self, training: bool) -> bool:
        """Return whether the drop probability is 0."""
        return not training or self.p == 0

    def erases(self, training: bool) -> bool:
        """Return whether the drop probability is 1."""
        return training and self.p == 1

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.Dropout`; its mode makes it a module everywhere."""
        return TorchForm(TorchCall("nn.Dropout", (self.p,)))

    def label(self) -> str:
        """Return `dropout 0.5`."""
        return f"dropout {float(self.p):g}"
