"""Moves the channels after height and width, and back."""

from __future__ import annotations

from archdsl.layer import Layer, Mismatch, arg, need_map
from archdsl.values import (
    Last,
    Shape,
    TorchCall,
    TorchForm,
    channels_first,
    channels_last,
    show_shape,
)

_HELPER = '''
class Permute(nn.Module):
    """The axes in another order."""

    def __init__(self, *dims: int) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.dims)
'''
_ORDERS = {"last": channels_last, "first": channels_first}


class Permute(Layer):
    """Move a map's channels after its height and width, or back: `permute last`.

    With the channels last, `linear` and `layernorm` act on each position.
    `permute first` returns to the order in which convolutions work.
    """

    word = "permute"
    also = ("transpose",)
    family = "reshape"
    views = True
    sign = "kept"

    channels: str = arg(
        "choice", at=0, choices=("last", "first"), help="where the channels go"
    )

    def shape(self, *inputs: Shape) -> Shape:
        """Return the sizes and the channels with these last, else as usual."""
        if self.channels == "last":
            channels, *sizes = need_map(inputs[0], self.word)
            return Last((*sizes, channels))
        if not isinstance(inputs[0], Last):
            raise Mismatch(
                "permute first needs a map with its channels last, but its input is "
                f"{show_shape(inputs[0])}",
                help="put `permute last` before it, or leave it out",
            )
        *sizes, channels = inputs[0]
        return (channels, *sizes)

    def aliases(self, training: bool) -> bool:
        """Return True: it is a view."""
        return True

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return a permutation of the axes."""
        order = _ORDERS[self.channels](len(output) - 1)
        return TorchForm(
            TorchCall("Permute", order), f"{{0}}.permute{order}", helper=_HELPER
        )

    def label(self) -> str:
        """Return `permute last`."""
        return f"permute {self.channels}"
