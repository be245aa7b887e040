"""One of several equal parts of the channels."""

from __future__ import annotations

from collections.abc import Sequence

from archdsl.layer import Layer, Mismatch, arg, count
from archdsl.values import Last, Scratch, Shape, TorchCall, TorchForm

_HELPER = '''
class Chunk(nn.Module):
    """One of several equal parts of the channels; the first has index 0."""

    def __init__(self, index: int, count: int) -> None:
        super().__init__()
        self.index = index
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        return x.chunk(self.count, 1)[self.index]
'''


class Chunk(Layer):
    """One of several equal parts of the channels: `chunk 1 of=2` is the first half.

    `concat { chunk 1 of=2 | chunk 2 of=2 -> ... }` is a channel split.

    Source: Ma et al. 2018, "ShuffleNet V2", figure 3c.
    """

    word = "chunk"
    also = ("split",)
    family = "reshape"
    sign = "kept"
    selects = True
    selects = True
    views = True

    place: int = arg("int", at=0, minimum=1, help="which part, from 1")
    of: int = arg("int", 2, minimum=1, help="number of parts")

    def shape(self, *inputs: Shape) -> Shape:
        """Return (channels / of, then the sizes)."""
        if isinstance(inputs[0], Last):
            raise Mismatch(
                "chunk needs the channels first, but its input has them last",
                help="put it after `permute first`",
            )
        if self.place > self.of:
            raise Mismatch(
                f"chunk: there is no part {int(self.place)} of {int(self.of)}",
                help="parts are counted from 1",
            )
        if inputs[0][0] % self.of:
            raise Mismatch(
                f"chunk: {int(inputs[0][0])} channels do not divide into "
                f"{int(self.of)} parts",
                help="use `slice` for any range of channels",
                code="A0304",
            )
        return (inputs[0][0] // self.of, *inputs[0][1:])

    def aliases(self, training: bool) -> bool:
        """Return True: it is a view."""
        return True

    def shares_gradient(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return False: the rest of the gradient is filled with zeros."""
        return False

    def scratch(
        self, inputs: tuple[Shape, ...], output: Shape, gradients: tuple[bool, ...]
    ) -> Scratch:
        """Return the zeros in the gradient for the other parts."""
        return Scratch(backward=count(inputs[0]) - count(output))

    def channels_read(
        self, some: Sequence[int], inputs: tuple[Shape, ...], output: Shape
    ) -> tuple[Sequence[int], ...]:
        """Return the channels that it selects."""
        start = (self.place - 1) * output[0]
        return ([start + channel for channel in some],)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `chunk` over dimension 1."""
        return TorchForm(
            TorchCall("Chunk", (self.place - 1, self.of)),
            "{0}.chunk({of}, 1)[{index}]",
            (("of", self.of), ("index", self.place - 1)),
            helper=_HELPER,
        )

    def label(self) -> str:
        """Return `chunk 1 of 2`."""
        return f"chunk {self.place} of {self.of}"
