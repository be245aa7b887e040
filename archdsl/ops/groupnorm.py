"""Group normalisation."""

from __future__ import annotations

from collections.abc import Sequence

from archdsl.layer import Layer, Mismatch, arg, count, given, group_channels, need_map
from archdsl.values import Saved, Shape, Tensor, TorchCall, TorchForm, Window, is_map


class GroupNorm(Layer):
    """Normalisation over groups of channels and all positions: `groupnorm 32`.

    Its statistics make each unit depend on the whole input.

    Source: Wu & He 2018, equation 7.
    """

    word = "groupnorm"
    also = ("gn", "groupnormalization")
    family = "norm"
    gathers = True

    groups: int = arg("int", at=0, minimum=1, help="number of groups of channels")
    eps: float = arg("float", 1e-5, minimum=1e-12, help="number added to the variance")

    def shape(self, *inputs: Shape) -> Shape:
        """Return the input's shape."""
        channels = inputs[0][0]
        if is_map(inputs[0]):
            need_map(inputs[0], self.word)
        if channels % self.groups:
            raise Mismatch(
                f"groupnorm: {int(channels)} channels do not divide into "
                f"{int(self.groups)} groups",
                help="groups must divide the channels",
                code="A0304",
            )
        return inputs[0]

    def tensors(self, *inputs: Shape) -> tuple[Tensor, ...]:
        """Return weight and bias, with C elements each."""
        shape = (inputs[0][0],)
        return Tensor("weight", shape), Tensor("bias", shape)

    def normed(self, inputs: tuple[Shape, ...]) -> int:
        """Return the elements of a group."""
        return count(inputs[0]) // self.groups

    def cancels_bias(self, inputs: tuple[Shape, ...]) -> bool:
        """Return whether each channel is a group of its own."""
        return self.groups == inputs[0][0]

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return the operations of the formula, as for `layernorm`.

        Seven for each element, and five for each group.
        """
        return 7 * count(output) + 5 * self.groups

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window | None:
        """Return None: the statistics are those of all positions."""
        return None

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the input, and mean and inverse deviation of each group."""
        return Saved(input=True, own_params=2 * self.groups, what="statistics")

    def channels_read(
        self, some: Sequence[int], inputs: tuple[Shape, ...], output: Shape
    ) -> tuple[Sequence[int], ...]:
        """Return the input channels of the groups that they belong to."""
        return group_channels(some, self.groups, inputs[0][0], output[0])

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.GroupNorm`."""
        kwargs = given(("eps", self.eps, 1e-5))
        return TorchForm(TorchCall("nn.GroupNorm", (self.groups, inputs[0][0]), kwargs))

    def label(self) -> str:
        """Return `groupnorm 32`."""
        return f"{self.word} {self.groups}"
