"""Some of the channels."""

from __future__ import annotations

from collections.abc import Sequence

from archdsl.layer import Layer, Mismatch, arg
from archdsl.symbolic import is_symbolic
from archdsl.values import Last, Shape, TorchCall, TorchForm

_HELPER = '''
class Slice(nn.Module):
    """The channels from start up to stop."""

    def __init__(self, start: int, stop: int) -> None:
        super().__init__()
        self.start = start
        self.stop = stop

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.start : self.stop]
'''


class Slice(Layer):
    """The channels from one number up to, but not including, another: `slice 0 58`.

    Numbers count from 0; without the second, the range ends with the last channel.
    `slice 0 (channels // 2)` is the first half and `slice (channels // 2)` the rest.
    """

    word = "slice"
    family = "reshape"
    views = True
    sign = "kept"
    selects = True

    start: int = arg("int", at=0, minimum=0, help="first channel, from 0")
    stop: int | None = arg(
        "int", None, at=1, minimum=1, help="channel before which it ends"
    )

    def shape(self, *inputs: Shape) -> Shape:
        """Return (stop - start, then the sizes)."""
        if isinstance(inputs[0], Last):
            raise Mismatch(
                "slice needs the channels first, but its input has them last",
                help="put it after `permute first`",
            )
        stop = self._stop(inputs[0])
        if not self.start < stop <= inputs[0][0]:
            raise Mismatch(
                f"slice: there are no channels {int(self.start)} up to {int(stop)} "
                f"in {int(inputs[0][0])}",
                help="channels are counted from 0, and the second number is left out",
            )
        return (stop - self.start, *inputs[0][1:])

    def _stop(self, shape: Shape) -> int:
        return shape[0] if self.stop is None else self.stop

    def aliases(self, training: bool) -> bool:
        """Return True: it is a view."""
        return True

    def shares_gradient(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return whether it selects all channels; else the gradient gets zeros."""
        return inputs == (output,)

    def channels_read(
        self, some: Sequence[int], inputs: tuple[Shape, ...], output: Shape
    ) -> tuple[Sequence[int], ...]:
        """Return the channels that it selects."""
        return ([self.start + channel for channel in some],)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return an index over dimension 1."""
        start = is_symbolic(self.start) or self.start > 0
        bounds = (("start", self.start),) if start else ()
        if self.stop is not None:
            bounds = (*bounds, ("stop", self.stop))
        low = "{start}" if start else ""
        high = "" if self.stop is None else "{stop}"
        return TorchForm(
            TorchCall("Slice", (self.start, self._stop(inputs[0]))),
            f"{{0}}[:, {low}:{high}]",
            bounds,
            helper=_HELPER,
        )

    def label(self) -> str:
        """Return `slice 0:58`."""
        return f"slice {self.start}:{'' if self.stop is None else self.stop}"
