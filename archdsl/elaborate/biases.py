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


class BlockScope:
    """A block or network that is being elaborated.

    Attributes:
        undecided: layers for which it is not yet known whether they have a bias.
        round: the innermost copy.
    """

    __slots__ = ("round", "undecided")

    def __init__(self) -> None:
        self.undecided: list[_Undecided] = []
        self.round = Round()


class _Undecided:
    """A layer that has a bias unless it is only read by norms that cancel it.

    Attributes:
        output: number of the value that it defines.
        path: path of the layer; further uses of its weights have the same path.
        scope: the block or network that it belongs to.
        round: the copy that it belongs to.
        cancelled: whether a norm that cancels it reads the value.
        needed: whether anything else does.
    """

    __slots__ = ("cancelled", "needed", "output", "path", "round", "scope")

    def __init__(self, output: int, path: str, scope: BlockScope) -> None:
        self.output = output
        self.path = path
        self.scope = scope
        self.round = scope.round
        self.cancelled = False
        self.needed = False


class Biases:
    """The layers of a network whose bias is not decided yet.

    Attributes:
        scope: the block or network that is being elaborated.
        undecided: the layers, by the number of the value that they define.
    """

    def __init__(self) -> None:
        self.scope = BlockScope()
        self.undecided: dict[int, _Undecided] = {}

    def add(self, output: int, path: str) -> None:
        """Add a layer, which defines the value `output`."""
        late = _Undecided(output, path, self.scope)
        self.undecided[output] = late
        self.scope.undecided.append(late)

    def read(self, value: int, layer: Layer | None) -> None:
        """Record a reader of a value: a layer, or something outside the block."""
        late = self.undecided.get(value)
        if late is None:
            return
        cancels = (
            layer is not None
            and layer.absorbs_bias
            and self.scope is late.scope
            and late.round.is_open
        )
        late.cancelled = late.cancelled or cancels
        late.needed = late.needed or not cancels

    def enter(self) -> BlockScope:
        """Begin a block or network, and return the one around it."""
        around, self.scope = self.scope, BlockScope()
        return around

    def leave(self, around: BlockScope) -> dict[int, bool]:
        """End a block or network.

        Returns:
            Whether its layers have a bias, by the number of their output.
        """
        own, self.scope.undecided = self.scope.undecided, []
        self.scope = around
        needed = {one.path for one in own if one.needed or not one.cancelled}
        for one in own:
            del self.undecided[one.output]
        return {one.output: one.path in needed for one in own}
