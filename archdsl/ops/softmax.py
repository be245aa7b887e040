"""Softmax."""

from __future__ import annotations

from collections.abc import Sequence

from archdsl.layer import Layer, Mismatch, all_channels, arg, count
from archdsl.values import (
    Last,
    Operations,
    Saved,
    Shape,
    TorchCall,
    TorchForm,
    channels,
)

_HELPER = '''
class SoftmaxOfParts(nn.Module):
    """Softmax between equal parts of the channels."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        x = torch.unflatten(x, 1, (self.count, -1))
        return F.softmax(x, dim=1).flatten(1, 2)
'''


class Softmax(Layer):
    """Softmax over channels or features: `softmax`.

    `softmax of=2` is computed between equal parts of the channels, as `chunk` makes
    them: over the channels at the same place in each part. It weighs branches against
    each other.

    Source: between parts, Li et al. 2019, "Selective Kernel Networks", equation 5.
    """

    word = "softmax"
    family = "activation"
    sign = "positive"
    sums_to_one = True

    of: int | None = arg(
        "int", None, minimum=2, help="number of parts; none if left out"
    )

    def shape(self, *inputs: Shape) -> Shape:
        """Return the input's shape, whose channels divide into the parts."""
        if self.of is None:
            return inputs[0]
        if isinstance(inputs[0], Last):
            raise Mismatch(
                "softmax of parts needs the channels first, but here they are last",
                help="put it after `permute first`",
            )
        if channels(inputs[0]) % self.of:
            raise Mismatch(
                f"softmax: {int(channels(inputs[0]))} channels do not divide into "
                f"{int(self.of)} parts",
                help="make as many channels for each part",
                code="A0304",
            )
        return inputs[0]

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return a comparison, difference, exponential, sum and division each."""
        return 5 * count(output)

    def operations(
        self, inputs: tuple[Shape, ...], output: Shape, training: bool
    ) -> Operations:
        """Return them as other operations: they combine elements."""
        return self.all_for("other", inputs, output)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the output."""
        return Saved(output=True)

    def is_view(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return whether the parts are joined again."""
        return self.of is not None

    def channels_read(
        self, some: Sequence[int], inputs: tuple[Shape, ...], output: Shape
    ) -> tuple[Sequence[int], ...]:
        """Return all channels, or those in the same places of all parts."""
        if self.of is None:
            return all_channels(inputs)
        part = int(channels(output)) // self.of
        places = {channel % part for channel in some}
        return ([c for c in range(int(channels(output))) if c % part in places],)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.Softmax` over the channels' dimension, or over the parts."""
        if self.of is not None:
            return TorchForm(
                TorchCall("SoftmaxOfParts", (self.of,)),
                "F.softmax(torch.unflatten({0}, 1, ({of}, -1)), dim=1).flatten(1, 2)",
                (("of", self.of),),
                helper=_HELPER,
            )
        dim = (("dim", -1 if isinstance(output, Last) else 1),)
        return TorchForm(TorchCall("nn.Softmax", (), dim), "F.softmax({0})", dim)
