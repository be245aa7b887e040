"""The tensors that flow through a network while it is elaborated."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from archdsl.elaborate.faults import BlockCall
from archdsl.source import Span
from archdsl.symbolic import Poly, Sym, TooLong
from archdsl.values import Shape


class Tapped:
    """A use of a label by a tap.

    Attributes:
        span: the tap's place.
        trail: the calls that led there.
        is_read: whether anything reads the value of the tap.
    """

    __slots__ = ("is_read", "span", "trail")

    def __init__(self, span: Span, trail: tuple[BlockCall, ...]) -> None:
        self.span = span
        self.trail = trail
        self.is_read = False


class Extra(Tapped):
    """One of the other outputs of a block or named braces, to be read by taps.

    Attributes:
        name: the output's name.
        owner: path of the block or braces.
    """

    __slots__ = ("name", "owner")

    def __init__(
        self, span: Span, trail: tuple[BlockCall, ...], name: str, owner: str
    ) -> None:
        super().__init__(span, trail)
        self.name = name
        self.owner = owner


_NO_EXTRAS: Final[Mapping[str, Value]] = MappingProxyType({})


class Value:
    """One tensor of the network.

    Attributes:
        number: identifies it in the graph.
        shape: None once an error was reported.
        source: the value that it was computed from, along first inputs, as far as that
            is known in the enclosing group.
        stride: the stride from that value to this one.
        tapped: the tap that it comes from, if there is no layer in between.
        extras: if it is the main output of a block or braces, their other ones.
    """

    __slots__ = ("extras", "number", "shape", "source", "stride", "tapped")

    def __init__(
        self,
        number: int,
        shape: Shape | None,
        source: Value | None = None,
        stride: int = 1,
        tapped: Tapped | None = None,
    ) -> None:
        self.number = number
        self.shape = shape
        self.source = source
        self.stride = stride
        self.tapped = tapped
        self.extras: Mapping[str, Value] = _NO_EXTRAS

    def read(self) -> None:
        """Record that something reads it."""
        if self.tapped is not None:
            self.tapped.is_read = True

    def back_to(self, number: int) -> tuple[Value, int]:
        """Go back to the last value with at most a given number.

        If the way back is not known that far, it is the first value that is known.

        Returns:
            The value, and the stride from it to this one.
        """
        value, stride = self, 1
        while value.number > number and value.source is not None:
            stride = times(value.stride, stride)
            value = value.source
        return value, stride


class MergeWords(NamedTuple):
    """How messages refer to the inputs of a merge.

    Attributes:
        entry: the value that flows into the branches.
        sides: a name for each input.
        word: the structure, if it is not the merge itself.
        help: a hint for inputs that differ, if there is a better one than the merge's.
    """

    entry: Value
    sides: tuple[str, ...]
    word: str = ""
    help: str | None = None


def times(first: int, second: int) -> int:
    """Return a product, without its expression if that would be too long."""
    try:
        return first * second
    except TooLong:
        return int(first) * int(second)


def rename(value: int, bindings: Mapping[str, Poly]) -> int:
    """Return a number with its expression in the caller's names."""
    if not isinstance(value, Sym):
        return value
    poly = value.poly.substitute(bindings)
    return int(value) if poly.number is not None else Sym(int(value), poly)


def named(value: int, name: str) -> Sym:
    """Return a number whose expression is a name."""
    return Sym(int(value), Poly.name(name))
