"""Mixing of channels across groups."""

from __future__ import annotations

from collections.abc import Sequence

from archdsl.layer import Layer, Mismatch, arg, need_map
from archdsl.values import Shape, TorchCall, TorchForm


class Shuffle(Layer):
    """Spread the channels of each group over all groups: `shuffle 2`.

    With g groups of n channels, channel i * n + j moves to j * g + i.

    Source: Zhang et al. 2018, "ShuffleNet", section 3.1.
    """

    word = "shuffle"
    also = ("channelshuffle",)
    family = "reshape"
    sign = "kept"

    groups: int = arg("int", at=0, minimum=1, help="number of groups")

    def shape(self, *inputs: Shape) -> Shape:
        """Return the input's shape."""
        channels = need_map(inputs[0], self.word)[0]
        if channels % self.groups:
            raise Mismatch(
                f"shuffle: {int(channels)} channels do not divide into "
                f"{int(self.groups)} groups",
                code="A0304",
            )
        return inputs[0]

    def passes(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return whether there is only one group."""
        return self.groups == 1

    def channels_read(
        self, some: Sequence[int], inputs: tuple[Shape, ...], output: Shape
    ) -> tuple[Sequence[int], ...]:
        """Return the channels that they come from."""
        size = output[0] // self.groups
        return ([c % self.groups * size + c // self.groups for c in some],)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.ChannelShuffle`."""
        return TorchForm(
            TorchCall("nn.ChannelShuffle", (self.groups,)),
            "F.channel_shuffle({0})",
            (("groups", self.groups),),
        )

    def label(self) -> str:
        """Return `shuffle 2`."""
        return f"shuffle {self.groups}"
