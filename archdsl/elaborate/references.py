"""Layer kinds, blocks and braces as values, and values that stand for others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from archdsl.elaborate.contexts import Context
from archdsl.layer import Layer
from archdsl.syntax import tree as t
from archdsl.syntax.loader import LoadedFile
from archdsl.values import Dims


class KindRef:
    """A layer kind as a value, possibly with arguments: ``bn<eps = 0.001>``.

    Attributes:
        kind: the layer kind.
        bound: arguments given with it, by name, each with the context to evaluate it
            in.
        values: what these are worth, for comparisons.
    """

    __slots__ = ("bound", "kind", "values")

    def __init__(
        self,
        kind: type[Layer],
        bound: Mapping[str, tuple[t.Arg, Context]] | None = None,
        values: Mapping[str, Any] | None = None,
    ) -> None:
        self.kind = kind
        self.bound = bound or {}
        self.values = values or {}

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, KindRef)
            and self.kind is other.kind
            and self.values == other.values
        )

    def __hash__(self) -> int:
        return hash(self.kind.word)

    def __repr__(self) -> str:
        return self.kind.word


class BlockRef:
    """A block as a value, possibly with arguments: ``bottleneck<groups = 32>``."""

    __slots__ = ("bound", "definition", "module")

    def __init__(
        self,
        definition: t.Definition,
        module: LoadedFile,
        bound: Mapping[str, Any] | None = None,
    ) -> None:
        self.definition = definition
        self.module = module
        self.bound = bound or {}

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, BlockRef)
            and self.definition is other.definition
            and self.bound == other.bound
        )

    def __hash__(self) -> int:
        return hash(id(self.definition))

    def __repr__(self) -> str:
        return self.definition.name


class BodyRef:
    """Braces passed to a block, with the context whose names they use."""

    __slots__ = ("body", "context")

    def __init__(self, body: t.Body, context: Context) -> None:
        self.body = body
        self.context = context

    def __repr__(self) -> str:
        return "{ ... }"


class Unknown:
    """The value of a name whose definition was found wrong."""


class Range(tuple[int, ...]):
    """The value of `range(n)`: its length keeps the expression that it came from."""

    length: int


def plain_argument(value: Any) -> Any:
    """Return a parameter's value without the expression it came from.

    The parts of a list, and the arguments given with a kind or block, lose theirs, too.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, BlockRef) and value.bound:
        bound = {name: plain_argument(item) for name, item in value.bound.items()}
        return BlockRef(value.definition, value.module, bound)
    if isinstance(value, Dims):
        return Dims(int(part) for part in value)
    if isinstance(value, tuple):
        return tuple([plain_argument(part) for part in value])
    return value
