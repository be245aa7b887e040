"""The syntax tree of a spec, before any name is resolved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, dataclass_transform

from archdsl.source import Source, Span

# ---- nodes ------------------------------------------------------------------


def _later(*, init: bool) -> Any:
    """Mark a field that is set after the node is made; it is None before."""
    return None


@dataclass_transform(eq_default=False, field_specifiers=(_later,))
class SyntaxNode:
    """A record of the annotated fields, like a dataclass.

    Creating thirty dataclasses would take longer than reading a cached tree.

    Attributes:
        kinds: all kinds of nodes, in the order of this file.
        fields: the names of a kind's fields.
    """

    kinds: ClassVar[list[type[SyntaxNode]]] = []
    fields: ClassVar[tuple[str, ...]] = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        SyntaxNode.kinds.append(cls)
        own = cls.__annotations__
        cls.fields += tuple(own)
        given = tuple(n for n in own if cls.__dict__.get(n, "") is not None)
        cls.__match_args__ += given  # type: ignore[misc]

    def __init__(self, *values: object, **named: object) -> None:
        self.__dict__.update(zip(self.__match_args__, values, strict=False), **named)


# ---- expressions ------------------------------------------------------------


class Expr(SyntaxNode):
    """Any expression; `span` is its place in the source."""

    span: Span


class Literal(Expr):
    """A number, truth value or string."""

    value: int | float | bool | str
    text: str


class DimsLiteral(Expr):
    """Sizes joined by x, such as 3x3 or 3x224x224."""

    dims: tuple[int, ...]


class Name(Expr):
    """A parameter, loop variable, layer kind or block, by its name."""

    id: str


class ListExpr(Expr):
    """A list in square brackets."""

    items: list[Expr]


class Targets(SyntaxNode):
    """The names that a loop binds: ``item``, ``index, item``, or ``[a, b]``.

    Attributes:
        index: name of the counter, which starts at 0.
        names: name of the item, or of its parts.
        unpacks: whether the item is a list that is unpacked.
    """

    index: str | None
    names: list[str]
    unpacks: bool
    span: Span

    def all_names(self) -> list[str]:
        """Return every name that is bound."""
        return [self.index, *self.names] if self.index else list(self.names)


class Comprehension(Expr):
    """``[item for name in iterable if test]``."""

    item: Expr
    targets: Targets
    iterable: Expr
    test: Expr | None


class Unary(Expr):
    """``-a`` or ``not a``."""

    op: str
    operand: Expr


class Binary(Expr):
    """Arithmetic, comparison, or ``and``/``or`` of two operands."""

    op: str
    left: Expr
    right: Expr


class Conditional(Expr):
    """``then if test else otherwise``."""

    then: Expr
    test: Expr
    otherwise: Expr


class Index(Expr):
    """``sequence[at]``."""

    sequence: Expr
    at: Expr


class FunctionCall(Expr):
    """A call of one of the language's functions, such as ``min(a, b)``."""

    name: str
    args: list[Arg]


class Partial(Expr):
    """``unit<groups = 32>`` as a value: a block with some of its arguments."""

    id: str
    args: list[Arg]


class Arg(SyntaxNode):
    """One argument; `name` is None for a positional one, and ``/`` for a stride."""

    name: str | None
    value: Expr
    span: Span


# ---- layers -----------------------------------------------------------------


class Label(SyntaxNode):
    """A label: alternating fixed text and embedded expressions (or None for {}).

    Attributes:
        parts: in order.
        span: its place, without quotes.
        quoted: whether it is in quotes, and so may contain a hyphen.
    """

    parts: list[str | Expr | None]
    span: Span
    quoted: bool


class ChainStep(SyntaxNode):
    """One element of a chain, with its label, older names, repeat count and guard."""

    span: Span
    label: Label | None = _later(init=False)
    renamed: list[Label] | None = _later(init=False)
    repeat: Expr | None = _later(init=False)
    guard: Expr | None = _later(init=False)


class Call(ChainStep):
    """A layer, block or structure word with its arguments and body."""

    word: str
    angle: list[Arg] | None
    args: list[Arg]
    body: Body | None


class BracedGroup(ChainStep):
    """Layers in braces."""

    body: Body


class Tap(ChainStep):
    """``@label``: an earlier value, read by name."""

    path: Label


class Chain(SyntaxNode):
    """Steps joined by arrows; the last step's repeat repeats the chain."""

    steps: list[ChainStep]
    span: Span


class Each(SyntaxNode):
    """``for item in list`` after a branch: one branch for each item."""

    targets: Targets
    iterable: Expr
    span: Span


class Branch(SyntaxNode):
    """The statements between two ``|`` of a body."""

    statements: list[Statement]
    span: Span
    each: Each | None


class Body(SyntaxNode):
    """The contents of braces."""

    branches: list[Branch]
    span: Span


class Input(SyntaxNode):
    """``input [name] 3x224x224``."""

    name: str | None
    dims: tuple[int, ...]
    span: Span


class Output(SyntaxNode):
    """``[training] output chain``: an output besides the main one."""

    chain: Chain
    training: bool
    span: Span


class Let(SyntaxNode):
    """``name = expression``: a name for a value, in the rest of the body."""

    name: str
    value: Expr
    span: Span


class For(SyntaxNode):
    """``for item in list { }`` or ``for index, item in list { }``."""

    targets: Targets
    iterable: Expr
    body: Body
    span: Span


class If(SyntaxNode):
    """``if test { } else { }``."""

    test: Expr
    body: Body
    otherwise: Body | If | None
    span: Span


class Claim(SyntaxNode):
    """One claim; `measure` is set for the short form ``output 1000``."""

    test: Expr | None
    measure: str | None
    dims: tuple[int, ...]
    span: Span


class Expect(SyntaxNode):
    """``expect a, b``."""

    items: list[Claim]
    span: Span


class Init(SyntaxNode):
    """``init conv weight=normal(std = 0.01) bias=0``.

    Attributes:
        kind: word of the layer kind; empty for a single layer.
        path: path of the layer, or of the part that contains the layers of the kind,
            without `@`; empty for all layers of the kind.
        settings: tensors, with their initialisation.
        span: the position of the statement.
    """

    kind: str
    path: str
    settings: list[Arg]
    span: Span


class Register(SyntaxNode):
    """``register downsample, norm1``.

    Attributes:
        names: names of parts of the body, in the order in which they are registered.
        span: the position of the statement.
    """

    names: list[Label]
    span: Span


Statement = Chain | Let | Input | Output | For | If | Expect | Init | Register


# ---- files ------------------------------------------------------------------


class Version(SyntaxNode):
    """``arch 1``."""

    number: str
    span: Span


class Import(SyntaxNode):
    """``import a, b from "file.arch"`` or ``from std``."""

    names: list[tuple[str, Span]]
    origin: str
    is_path: bool
    span: Span
    origin_span: Span


class Param(SyntaxNode):
    """A parameter of a block or network."""

    name: str
    type: str | None
    default: Expr | None
    span: Span


class Definition(SyntaxNode):
    """A block or a network.

    Attributes:
        name: its name.
        params: in the order of the header.
        body: the layers.
        span: the position of the name.
        is_network: whether it is a network.
        indexed: whether there is a `seq` before the body, so that its parts are
            numbered.
        doc: the comment lines directly above, without their `# `.
        inputs: names of a block's inputs, with their places; empty if it has one.
    """

    name: str
    params: list[Param]
    body: Body
    span: Span
    is_network: bool
    indexed: bool = False
    doc: str = ""
    inputs: Sequence[tuple[str, Span]] = ()


class FunctionDef(SyntaxNode):
    """``fn name(a, b = 8) = expression``."""

    name: str
    params: list[Param]
    value: Expr
    span: Span


class OpDef(SyntaxNode):
    """``op name<params>(inputs) { torch = "module.Class"; ... }``: a foreign kind.

    Attributes:
        name: its word.
        params: its arguments.
        settings: its settings.
        span: the position of its name.
        inputs: names of its inputs, with their places; empty if it has one.
    """

    name: str
    params: list[Param]
    settings: list[Let]
    span: Span
    inputs: Sequence[tuple[str, Span]] = ()


class Preset(SyntaxNode):
    """``[default] preset name = network<...> [expect ...]``."""

    name: str
    network: str
    network_span: Span
    angle: list[Arg]
    expect: Expect | None
    is_default: bool
    span: Span


Item = Version | Import | Definition | Preset | FunctionDef | OpDef


class File(SyntaxNode):
    """One parsed file."""

    source: Source
    items: list[Item]

    def definitions(self) -> Iterator[Definition]:
        """Yield the blocks and networks in order."""
        return (i for i in self.items if isinstance(i, Definition))

    def presets(self) -> Iterator[Preset]:
        """Yield the presets in order."""
        return (i for i in self.items if isinstance(i, Preset))
