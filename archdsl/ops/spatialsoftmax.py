"""Softmax over all positions."""

from __future__ import annotations

from archdsl.layer import Layer, count, need_map
from archdsl.values import Operations, Saved, Shape, TorchCall, TorchForm, Window

_HELPER = '''
class SpatialSoftmax(nn.Module):
    """Softmax over all positions of each channel."""

    def forward(self, x: Tensor) -> Tensor:
        return F.softmax(x.flatten(2), dim=2).view(x.shape)
'''


class SpatialSoftmax(Layer):
    """Softmax over all positions of each channel: `spatialsoftmax`.

    `mul { | conv 1x1 1 -> spatialsoftmax } -> sumpool` is an average of the positions,
    weighted by the softmax. `softmax` itself is over the channels of a position.

    Source: Cao et al. 2019, "GCNet", equation 4; Levine et al. 2016, "End-to-end
    training of deep visuomotor policies", section 4.1.
    """

    word = "spatialsoftmax"
    also = ("positionsoftmax", "softmaxoverpositions")
    family = "activation"
    sign = "positive"

    def shape(self, *inputs: Shape) -> Shape:
        """Return the input's shape."""
        return need_map(inputs[0], self.word)

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return a comparison, difference, exponential, sum and division each."""
        return 5 * count(output)

    def operations(
        self, inputs: tuple[Shape, ...], output: Shape, training: bool
    ) -> Operations:
        """Return them as other operations: they combine elements."""
        return self.all_for("other", inputs, output)

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window | None:
        """Return None: each position sees all of them."""
        return None

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the output."""
        return Saved(output=True)

    def is_view(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return whether the positions are put in rows again."""
        return len(output) > 2

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.Softmax` over a sequence, or a class of its own."""
        if len(output) == 2:
            dim = (("dim", 2),)
            return TorchForm(TorchCall("nn.Softmax", (), dim), "F.softmax({0})", dim)
        return TorchForm(TorchCall("SpatialSoftmax"), helper=_HELPER)
