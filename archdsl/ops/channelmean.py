"""Average over the channels."""

from __future__ import annotations

from collections.abc import Sequence

from archdsl.layer import Layer, all_channels, count, need_any_map
from archdsl.values import Last, Shape, TorchCall, TorchForm, with_channels

_HELPER = '''
class ChannelMean(nn.Module):
    """The average over the channels of each position."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return torch.mean(x, dim=self.dim, keepdim=True)
'''


class ChannelMean(Layer):
    """Average over the channels at each position, as one channel: `channelmean`.

    `adaptiveavgpool 1x1` averages over the positions of each channel.

    Source: Woo et al. 2018, "CBAM", section 3, for its use in a gate.
    """

    word = "channelmean"
    also = ("meanchannels", "channelaverage", "channelpool")
    family = "merge"
    sign = "kept"

    def shape(self, *inputs: Shape) -> Shape:
        """Return a single channel, and the sizes."""
        return with_channels(need_any_map(inputs[0], self.word), 1)

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return the additions and one division of each position."""
        return count(inputs[0])

    def channels_read(
        self, some: Sequence[int], inputs: tuple[Shape, ...], output: Shape
    ) -> tuple[Sequence[int], ...]:
        """Return all channels."""
        return all_channels(inputs)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return the mean, or a class of its own."""
        dim = -1 if isinstance(output, Last) else 1
        return TorchForm(
            TorchCall("ChannelMean", (dim,)),
            f"torch.mean({{0}}, dim={dim}, keepdim=True)",
            helper=_HELPER,
        )
