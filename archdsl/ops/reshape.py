"""Channels as positions, and back."""

from __future__ import annotations

from collections.abc import Sequence

from archdsl.layer import Layer, Mismatch, arg, count, need_map
from archdsl.values import (
    Last,
    Shape,
    TorchCall,
    TorchForm,
    Window,
    channels,
    is_map,
    show_shape,
    sizes,
)

_HELPER = '''
class Reshape(nn.Module):
    """The same numbers in other sizes."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.sizes = sizes

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(self.sizes)
'''


class Reshape(Layer):
    """Regard channels as positions of a sequence, or back: `reshape sequence`.

    `reshape sequence` makes a sequence of one channel from a vector, or from a map of a
    single position. Convolutions then work along the channels, as in ECA-Net (Wang et
    al. 2020, section 3.3). `reshape map` makes a map of 1x1 from a vector or from such
    a sequence, which can scale the channels of another one.
    """

    word = "reshape"
    also = ("unflatten",)
    family = "reshape"
    views = True
    sign = "kept"
    scatters = True

    into: str = arg(
        "choice", at=0, choices=("sequence", "map"), help="what the channels become"
    )

    def shape(self, *inputs: Shape) -> Shape:
        """Return (1, C) for a sequence, (C, 1, 1) for a map."""
        shape = inputs[0]
        if isinstance(shape, Last):
            need_map(shape, self.word)
        line = self.into == "map" and len(shape) == 2 and channels(shape) == 1
        if is_map(shape) and count(sizes(shape)) != 1 and not line:
            wanted = "a vector or a single position"
            if self.into == "map":
                wanted = "a vector or a sequence of one channel"
            raise Mismatch(
                f"reshape {self.into} needs {wanted}, but its input is "
                f"{show_shape(shape)}",
                help="put `globalavgpool` before it",
            )
        number = count(shape)
        return (1, number) if self.into == "sequence" else (number, 1, 1)

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window | None:
        """Return None: its input's channels are no positions."""
        return None

    def aliases(self, training: bool) -> bool:
        """Return True: only the shape changes."""
        return True

    def channels_read(
        self, some: Sequence[int], inputs: tuple[Shape, ...], output: Shape
    ) -> tuple[Sequence[int], ...]:
        """Return all channels for a sequence, and the same ones for a map."""
        number = int(channels(inputs[0]))
        if self.into == "map" and number > 1:
            return (some,)
        return (range(number),)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return a view."""
        sizes = "1, {number}" if self.into == "sequence" else "{number}, 1, 1"
        return TorchForm(
            TorchCall("Reshape", (-1, *output)),
            f"{{0}}.reshape(-1, {sizes})",
            (("number", count(output)),),
            helper=_HELPER,
        )

    def label(self) -> str:
        """Return `reshape sequence`."""
        return f"reshape {self.into}"
