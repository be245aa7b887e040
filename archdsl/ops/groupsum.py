"""Sum of groups of channels."""

from __future__ import annotations

from collections.abc import Sequence

from archdsl.layer import Layer, Mismatch, arg, count, need_map
from archdsl.values import Shape, TorchCall, TorchForm

_HELPER = '''
class GroupSum(nn.Module):
    """The sum of several groups of channels."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        return torch.unflatten(x, 1, (self.groups, -1)).sum(1)
'''


class GroupSum(Layer):
    """Add up groups of channels: `groupsum 2` adds the second half to the first.

    After `softmax of=`, it adds up the weighted branches.

    Source: Zhang et al. 2020, "ResNeSt", section 3.1.
    """

    word = "groupsum"
    family = "merge"
    sign = "kept"

    groups: int = arg("int", at=0, minimum=1, help="number of groups")

    def shape(self, *inputs: Shape) -> Shape:
        """Return (channels / groups, then the sizes)."""
        channels, *sizes = need_map(inputs[0], self.word)
        if channels % self.groups:
            raise Mismatch(
                f"groupsum: {int(channels)} channels do not divide into "
                f"{int(self.groups)} groups",
                code="A0304",
            )
        return (channels // self.groups, *sizes)

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return the additions."""
        return count(inputs[0]) - count(output)

    def channels_read(
        self, some: Sequence[int], inputs: tuple[Shape, ...], output: Shape
    ) -> tuple[Sequence[int], ...]:
        """Return the same channel of each group."""
        return ([n * output[0] + c for n in range(int(self.groups)) for c in some],)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return a class of its own, or the sum."""
        return TorchForm(
            TorchCall("GroupSum", (self.groups,)),
            "torch.unflatten({0}, 1, ({groups}, -1)).sum(1)",
            (("groups", self.groups),),
            helper=_HELPER,
        )

    def label(self) -> str:
        """Return `groupsum 2`."""
        return f"groupsum {self.groups}"
