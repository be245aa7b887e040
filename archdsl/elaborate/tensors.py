"""The tensors that flow through a network while it is elaborated."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import TYPE_CHECKING, NamedTuple

from archdsl.elaborate.faults import BlockCall
from archdsl.layer import Layer
from archdsl.source import Span
from archdsl.symbolic import Poly, Sym, TooLong
from archdsl.values import Shape

if TYPE_CHECKING:
    from archdsl.elaborate.memo import Made


class Placed:
    """A layer in its place.

    Attributes:
        made: the layer, with the shapes of its inputs and its output.
        name: last part of its path.
        path: its full dotted name.
        labelled: whether the spec names it.
        inputs: numbers of the values that it reads.
        output: number of the value that it defines.
        training: whether it is only needed for outputs of the training mode.
        statement: number of the chain that it stands in.
        shared: whether it repeats an earlier layer, with the same weights.
        alias: what it is called then.
        span: its place in the source.
    """

    __slots__ = (
        "alias",
        "inputs",
        "labelled",
        "made",
        "name",
        "output",
        "path",
        "shared",
        "span",
        "statement",
        "training",
    )

    def __init__(
        self,
        made: Made,
        name: str,
        path: str,
        labelled: bool,
        inputs: tuple[int, ...],
        output: int,
        training: bool,
        statement: int,
        shared: bool,
        alias: str,
        span: Span,
    ) -> None:
        self.made = made
        self.name = name
        self.path = path
        self.labelled = labelled
        self.inputs = inputs
        self.output = output
        self.training = training
        self.statement = statement
        self.shared = shared
        self.alias = alias
        self.span = span

    @property
    def op(self) -> Layer:
        """The layer itself."""
        return self.made.op

    def reading(self, inputs: tuple[int, ...]) -> Placed:
        """Return a copy that reads other values."""
        made = copy(self)
        made.inputs = inputs
        return made


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
        self.extras: Mapping[str, Value] = {}

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
