"""The syntax tree of a spec: what was written, before any name is resolved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from archdsl.source import Source, Span

# ---- expressions ------------------------------------------------------------


@dataclass(repr=False, eq=False)
class Expr:
    """Any expression; `span` is its place in the source."""

    span: Span


@dataclass(repr=False, eq=False)
class Literal(Expr):
    """A number, truth value or string."""

    value: int | float | bool | str
    text: str


@dataclass(repr=False, eq=False)
class DimsLiteral(Expr):
    """Sizes joined by x, such as 3x3 or 3x224x224."""

    dims: tuple[int, ...]


@dataclass(repr=False, eq=False)
class Name(Expr):
    """A parameter, loop variable, layer kind or block, by its name."""

    id: str


@dataclass(repr=False, eq=False)
class ListExpr(Expr):
    """A list in square brackets."""

    items: list[Expr]


@dataclass(repr=False, eq=False)
class Unary(Expr):
    """``-a`` or ``not a``."""

    op: str
    operand: Expr


@dataclass(repr=False, eq=False)
class Binary(Expr):
    """Arithmetic, comparison, or ``and``/``or`` of two operands."""

    op: str
    left: Expr
    right: Expr


@dataclass(repr=False, eq=False)
class Conditional(Expr):
    """``then if test else otherwise``."""

    then: Expr
    test: Expr
    otherwise: Expr


@dataclass(repr=False, eq=False)
class Index(Expr):
    """``sequence[at]``."""

    sequence: Expr
    at: Expr


@dataclass(repr=False, eq=False)
class Function(Expr):
    """A call of one of the language's functions, such as ``min(a, b)``."""

    name: str
    args: list[Arg]


@dataclass(repr=False, eq=False)
class Partial(Expr):
    """``unit<groups = 32>`` as a value: a block with some arguments given."""

    id: str
    args: list[Arg]


@dataclass(repr=False, eq=False)
class Arg:
    """One argument; `name` is None by position and ``/`` for a stride."""

    name: str | None
    value: Expr
    span: Span


# ---- layers -----------------------------------------------------------------


@dataclass(repr=False, eq=False)
class Label:
    """A label: alternating fixed text and embedded expressions (or None for {})."""

    parts: list[str | Expr | None]
    span: Span


@dataclass(repr=False, eq=False)
class Step:
    """One element of a chain, with its label, repeat count and guard."""

    span: Span
    label: Label | None = field(default=None, init=False)
    repeat: Expr | None = field(default=None, init=False)
    guard: Expr | None = field(default=None, init=False)


@dataclass(repr=False, eq=False)
class Call(Step):
    """A layer, block or structure word with its arguments and body."""

    word: str
    angle: list[Arg] | None
    args: list[Arg]
    body: Body | None


@dataclass(repr=False, eq=False)
class Group(Step):
    """Layers in braces."""

    body: Body


@dataclass(repr=False, eq=False)
class Tap(Step):
    """``@label``: an earlier value, read by name."""

    path: Label


@dataclass(repr=False, eq=False)
class Chain:
    """Steps joined by arrows; the last step's repeat repeats the chain."""

    steps: list[Step]
    span: Span


@dataclass(repr=False, eq=False)
class Branch:
    """The statements between two ``|`` of a body."""

    statements: list[Statement]
    span: Span


@dataclass(repr=False, eq=False)
class Body:
    """Everything between two braces."""

    branches: list[Branch]
    span: Span


@dataclass(repr=False, eq=False)
class Input:
    """``input [name] 3x224x224``."""

    name: str | None
    dims: tuple[int, ...]
    span: Span


@dataclass(repr=False, eq=False)
class Output:
    """``[training] output chain``: a further output, beside the main flow."""

    chain: Chain
    training: bool
    span: Span


@dataclass(repr=False, eq=False)
class For:
    """``for item in list { }`` or ``for index, item in list { }``."""

    names: list[str]
    iterable: Expr
    body: Body
    span: Span


@dataclass(repr=False, eq=False)
class If:
    """``if test { } else { }``."""

    test: Expr
    body: Body
    otherwise: Body | If | None
    span: Span


@dataclass(repr=False, eq=False)
class Expectation:
    """One claim; `measure` is set for the short form ``output 1000``."""

    test: Expr | None
    measure: str | None
    dims: tuple[int, ...]
    span: Span


@dataclass(repr=False, eq=False)
class Expect:
    """``expect a, b``."""

    items: list[Expectation]
    span: Span


@dataclass(repr=False, eq=False)
class Init:
    """``init conv weight=normal(std = 0.01) bias=0``."""

    kind: str
    settings: list[Arg]
    span: Span


Statement = Chain | Input | Output | For | If | Expect | Init


# ---- files ------------------------------------------------------------------


@dataclass(repr=False, eq=False)
class Version:
    """``arch 1``."""

    number: str
    span: Span


@dataclass(repr=False, eq=False)
class Import:
    """``import a, b from "file.arch"`` or ``from std``."""

    names: list[tuple[str, Span]]
    origin: str
    is_path: bool
    span: Span
    origin_span: Span


@dataclass(repr=False, eq=False)
class Param:
    """A parameter of a block or network."""

    name: str
    type: str | None
    default: Expr | None
    span: Span


@dataclass(repr=False, eq=False)
class Definition:
    """A block or a network.

    Attributes:
        name: what calls and presets say.
        params: in the order of the header.
        body: the layers.
        span: the name's place.
        is_network: whether it is a network.
        indexed: whether `seq` stands before the body, so that its parts are numbered.
        doc: the comment lines directly above, without their `# `.
    """

    name: str
    params: list[Param]
    body: Body
    span: Span
    is_network: bool
    indexed: bool = False
    doc: str = ""


@dataclass(repr=False, eq=False)
class Preset:
    """``[default] preset name = network<...> [expect ...]``."""

    name: str
    network: str
    network_span: Span
    angle: list[Arg]
    expect: Expect | None
    is_default: bool
    span: Span


Item = Version | Import | Definition | Preset


@dataclass(repr=False, eq=False)
class File:
    """One parsed file."""

    source: Source
    items: list[Item]

    def definitions(self) -> Iterator[Definition]:
        """Yield the blocks and networks in order."""
        return (i for i in self.items if isinstance(i, Definition))

    def presets(self) -> Iterator[Preset]:
        """Yield the presets in order."""
        return (i for i in self.items if isinstance(i, Preset))
