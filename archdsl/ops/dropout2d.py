"""Dropout of whole channels."""

from __future__ import annotations

from archdsl.layer import Layer, arg, count, need_map
from archdsl.values import Operations, Saved, Shape, TorchCall, TorchForm, ranked


class Dropout2d(Layer):
    """Zero each channel with probability p while training: `dropout2d 0.1`.

    Despite its name, it also drops channels of sequences and volumes.

    Source: Tompson et al. 2015, section 3.2.
    """

    word = "dropout2d"
    also = ("spatialdropout", "dropout1d", "featuredropout")
    family = "dropout"
    shifts_variance = True
    sign = "kept"

    p: float = arg(
        "float", 0.5, at=0, minimum=0, maximum=1, help="probability of a zero"
    )

    def shape(self, *inputs: Shape) -> Shape:
        """Return the input's shape."""
        return need_map(inputs[0], self.word)

    def operations(
        self, inputs: tuple[Shape, ...], output: Shape, training: bool
    ) -> Operations:
        """Return in training a draw and its scaling a channel, and a product each.

        If p is 1, a single product with zero is enough.
        """
        if not training or self.p == 0:
            return Operations()
        draws = 0 if self.p == 1 else 2 * output[0]
        return Operations(other=draws + count(output))

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the mask, or a single zero if everything is dropped."""
        if self.p == 1:
            return Saved(batch_elements=1, what="mask")
        return Saved(own_elements=output[0], what="mask") if self.p > 0 else Saved()

    def aliases(self, training: bool) -> bool:
        """Return whether the drop probability is 0."""
        return not training or self.p == 0

    def erases(self, training: bool) -> bool:
        """Return whether the drop probability is 1."""
        return training and self.p == 1

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.Dropout2d` or the like; its mode makes it a module everywhere."""
        return TorchForm(TorchCall(ranked("nn.Dropout", output), (self.p,)))

    def label(self) -> str:
        """Return `dropout2d 0.1`."""
        return f"{self.word} {float(self.p):g}"
