"""Dropping of whole samples of a branch."""

from __future__ import annotations

from archdsl.layer import Layer, arg, count
from archdsl.values import Operations, Saved, Shape, TorchCall, TorchForm

_HELPER = '''
class StochasticDepth(nn.Module):
    """In training, zero a sample with probability p, else scale it by 1 / (1 - p)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        survival = 1 - self.p
        noise = x.new_empty(x.shape[:1]).bernoulli_(survival)
        if survival > 0:
            noise.div_(survival)
        # One number per sample: samples are the last axis, so that it broadcasts.
        return (x.transpose(0, -1) * noise).transpose(0, -1)
'''


class StochasticDepth(Layer):
    """Drop a branch for whole samples in training: `stochasticdepth 0.2`.

    Each sample is zeroed with probability p, and otherwise divided by 1 - p. Put it at
    the end of a residual's body.

    Source: Huang et al. 2016, "Deep networks with stochastic depth", section 3; with
    the scale in training, as in torchvision's mode "row".
    """

    word = "stochasticdepth"
    also = ("droppath", "dropconnect")
    family = "dropout"
    sign = "kept"

    p: float = arg(
        "float", at=0, minimum=0, maximum=1, help="probability that a sample is dropped"
    )

    def operations(
        self, inputs: tuple[Shape, ...], output: Shape, training: bool
    ) -> Operations:
        """Return in training a draw and its scaling, and a product each.

        If p is 1, there is nothing to scale.
        """
        if not training or self.p == 0:
            return Operations()
        return Operations(other=count(output) + (1 if self.p == 1 else 2))

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return a factor for each sample."""
        return Saved(own_elements=1, what="factors") if self.p > 0 else Saved()

    def aliases(self, training: bool) -> bool:
        """Return whether the drop probability is 0."""
        return not training or self.p == 0

    def is_view(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return whether samples are dropped: the product is transposed."""
        return self.p > 0

    def erases(self, training: bool) -> bool:
        """Return whether the drop probability is 1."""
        return training and self.p == 1

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return a class of its own; its mode makes it a module everywhere."""
        return TorchForm(TorchCall("StochasticDepth", (self.p,)), helper=_HELPER)

    def label(self) -> str:
        """Return `stochasticdepth 0.2`."""
        return f"stochasticdepth {float(self.p):g}"
