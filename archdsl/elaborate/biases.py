"""Decides which layers have a bias if the spec does not say.

A batch norm subtracts the mean of each channel, including any bias added right before.
So a layer has no bias if its output is only read by such norms. Only norms in the same
block count, since a block owns its weights, which must not depend on the caller. They
must also be in the same copy of a repeat or loop, so that all copies are equal.
"""

from __future__ import annotations

from archdsl.layer import Layer


class Round:
    """A copy of a repeat, or everything outside of repeats; open until it ends."""

    __slots__ = ("is_open",)

    def __init__(self) -> None:
        self.is_open = True


class Scope:
    """A block or network that is being elaborated.

    Attributes:
        undecided: layers for which it is not yet known whether they have a bias.
        round: the innermost copy.
    """

    __slots__ = ("round", "undecided")

    def __init__(self) -> None:
        self.undecided: list[Undecided] = []
        self.round = Round()


class Undecided:
    """A layer that has a bias unless it is only read by norms that cancel it.

    Attributes:
        output: number of the value that it defines.
        path: path of the layer; further uses of its weights have the same path.
        op: the layer, whose bias is not decided.
    """

    __slots__ = ("_cancelled", "_needed", "_round", "_scope", "op", "output", "path")

    def __init__(self, output: int, path: str, op: Layer, scope: Scope) -> None:
        self.output = output
        self.path = path
        self.op = op
        self._scope = scope
        self._round = scope.round
        self._cancelled = False
        self._needed = False

    @property
    def has_bias(self) -> bool:
        """Whether it has a bias, according to its readers so far."""
        return self._needed or not self._cancelled

    def read_by(self, layer: Layer | None, scope: Scope) -> None:
        """Record a reader: a layer, or something outside the block or network."""
        cancels = (
            layer is not None
            and layer.absorbs_bias
            and scope is self._scope
            and self._round.is_open
        )
        self._cancelled = self._cancelled or cancels
        self._needed = self._needed or not cancels


def decided(undecided: list[Undecided]) -> dict[int, Layer]:
    """Return the layers with their decision, by the number of their output."""
    needed = {each.path for each in undecided if each.has_bias}
    return {
        each.output: each.op.replace(bias=each.path in needed) for each in undecided
    }
