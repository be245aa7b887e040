"""Softmax over groups of channels."""

from __future__ import annotations

from collections.abc import Sequence

from archdsl.layer import Layer, Mismatch, arg, count, need_map
from archdsl.values import Operations, Saved, Shape, TorchCall, TorchForm

_HELPER = '''
class GroupSoftmax(nn.Module):
    """Softmax over groups of channels: each channel competes with those of its place
    in the other groups."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        return F.softmax(x.unflatten(1, (self.groups, -1)), dim=1).flatten(1, 2)
'''


class GroupSoftmax(Layer):
    """Softmax over groups of channels: `groupsoftmax 2`.

    Each channel competes with the channels that have its place in the other groups. So
    branches that were joined by `concat` are weighed against each other, and `groupsum`
    adds them up.

    Source: Li et al. 2019, "Selective Kernel Networks", equation 5.
    """

    word = "groupsoftmax"
    family = "activation"
    views = True
    sign = "positive"

    groups: int = arg("int", at=0, minimum=1, help="number of groups")

    def shape(self, *inputs: Shape) -> Shape:
        """Return the input's shape."""
        channels = need_map(inputs[0], self.word)[0]
        if channels % self.groups:
            raise Mismatch(
                f"groupsoftmax: {int(channels)} channels do not divide into "
                f"{int(self.groups)} groups",
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

    def channels_read(
        self, some: Sequence[int], inputs: tuple[Shape, ...], output: Shape
    ) -> tuple[Sequence[int], ...]:
        """Return the channels that have the same places in their groups."""
        size = output[0] // self.groups
        places = sorted({c % size for c in some})
        return ([n * size + c for n in range(int(self.groups)) for c in places],)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return a class of its own, or the softmax of a view."""
        return TorchForm(
            TorchCall("GroupSoftmax", (self.groups,)),
            "F.softmax({0}.unflatten(1, ({groups}, -1)), dim=1).flatten(1, 2)",
            (("groups", self.groups),),
            helper=_HELPER,
        )

    def label(self) -> str:
        """Return `groupsoftmax 2`."""
        return f"groupsoftmax {self.groups}"
