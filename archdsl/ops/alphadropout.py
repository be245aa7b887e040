"""Dropout that keeps mean and variance."""

from __future__ import annotations

from archdsl.layer import Layer, arg, count
from archdsl.values import Operations, Saved, Scratch, Shape, TorchCall, TorchForm


class AlphaDropout(Layer):
    """Dropout that goes with `selu`: `alphadropout 0.1`.

    A dropped element gets the value that `selu` approaches far below zero. Then all
    elements are scaled and shifted, which keeps mean 0 and variance 1.

    Source: Klambauer et al. 2017, section 2, "New dropout technique".
    """

    word = "alphadropout"
    family = "dropout"

    p: float = arg(
        "float",
        0.5,
        at=0,
        minimum=0,
        maximum=1,
        help="probability of a dropped element",
    )

    def operations(
        self, inputs: tuple[Shape, ...], output: Shape, training: bool
    ) -> Operations:
        """Return in training seven each.

        A draw; two sums and a product for what takes the place of a dropped element; a
        product that scales the draw; a product and a sum with the input. If p is 1, a
        single product with zero is enough.
        """
        if not training or self.p == 0:
            return Operations()
        return Operations(other=count(output) * (1 if self.p == 1 else 7))

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the mask, or a single zero if everything is dropped."""
        if self.p == 1:
            return Saved(batch_elements=1, what="mask")
        return Saved(own_elements=count(output), what="mask") if self.p > 0 else Saved()

    def aliases(self, training: bool) -> bool:
        """Return whether the drop probability is 0."""
        return not training or self.p == 0

    def scratch(
        self, inputs: tuple[Shape, ...], output: Shape, gradients: tuple[bool, ...]
    ) -> Scratch:
        """Return the values that replace dropped elements."""
        return Scratch(forward=count(output) if 0 < self.p < 1 else 0)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.AlphaDropout`; its mode makes it a module everywhere."""
        return TorchForm(TorchCall("nn.AlphaDropout", (self.p,)))

    def label(self) -> str:
        """Return `alphadropout 0.1`."""
        return f"{self.word} {float(self.p):g}"
