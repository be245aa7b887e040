"""Trees of emitted Python code: expressions, and the statements of a `forward`.

The first part is for constructors, whose numbers are polynomials over the arguments;
the second part is for `forward`. Trees are compared and merged as trees; they become
text last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

from archdsl import conditions
from archdsl.conditions import Label, Test
from archdsl.symbolic import Poly, SymFloat, poly_of

INDEX = "i"

Bindings = Mapping[str, Poly]


class Target(Protocol):
    """A class of the emitted module, whose name and parameters are decided last.

    Attributes:
        calls: the expressions that create an instance.
    """

    calls: list[Make]

    def title(self) -> str:
        """Return the class's name."""
        ...

    def select(self, args: Mapping[str, Node]) -> Sequence[Argument]:
        """Return the arguments that the constructor takes, in order."""
        ...


# ---- expressions of a constructor ---------------------------------------------


class Leaf(NamedTuple):
    """A number with its expression, or text that is written verbatim."""

    value: Poly | str


class Text(NamedTuple):
    """A name as a string, which can depend on parameters."""

    label: Label


class Argument(NamedTuple):
    """One argument of a call; a positional one has an empty `name`."""

    name: str
    value: Node


class Call(NamedTuple):
    """A call of a torch callable; `spread` forces one argument per line."""

    function: str
    args: tuple[Argument, ...]
    spread: bool = False


class Make:
    """An instance of a class of the emitted module.

    Attributes:
        target: the class.
        args: possible arguments of its constructor, by name. The class may need more of
            them once it serves other calls as well.
    """

    __slots__ = ("args", "target")

    def __init__(self, target: Target, args: tuple[Argument, ...]) -> None:
        self.target = target
        self.args = args
        target.calls.append(self)

    def with_args(self, args: tuple[Argument, ...]) -> Make:
        """Return the same with other arguments."""
        return Make(self.target, args)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Make)
            and self.target is other.target
            and self.args == other.args
        )

    def __hash__(self) -> int:
        return hash(id(self.target))


class Items(NamedTuple):
    """A tuple of at least two items, or a list."""

    items: tuple[Node, ...]
    brackets: tuple[str, str] = ("(", ")")


class Star(NamedTuple):
    """``*(item for i in range(count))``."""

    item: Node
    times: Poly
    indexed: bool


class First(NamedTuple):
    """One expression in the first iteration of a loop, and another one in the rest."""

    first: Node
    rest: Node


class Maybe(NamedTuple):
    """An argument that exists under a condition.

    Attributes:
        node: the argument; None while no call with it is known.
        test: condition on the constructor's arguments.
        states: its values in the known calls.
    """

    node: Node | None
    test: Test
    states: frozenset[bool]


class Either(NamedTuple):
    """One expression where a condition holds, and another one where it does not.

    Attributes:
        test: condition on the constructor's arguments.
        there: the expression where it holds.
        otherwise: the other one.
    """

    test: Test
    there: Node
    otherwise: Node


# ---- expressions of `forward` --------------------------------------------------


@dataclass(frozen=True, slots=True)
class Var:
    """A local variable."""

    name: str


@dataclass(frozen=True, slots=True)
class Setting:
    """A number computed from arguments of the constructor, which the class stores."""

    number: Poly


@dataclass(frozen=True, slots=True)
class Own:
    """An attribute of the class: a submodule, a parameter or a setting.

    Attributes:
        name: name of the attribute.
        indexed: whether it is a number, used as an index into a Sequential.
    """

    name: str
    indexed: bool = False


@dataclass(frozen=True, slots=True)
class Each:
    """The submodule of an iteration of the enclosing loop, in a variable with that
    name.
    """

    name: str


@dataclass(frozen=True, slots=True)
class Invoke:
    """A call of a submodule, or of a method."""

    callee: Node
    args: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Attribute:
    """``value.name``."""

    value: Node
    name: str


@dataclass(frozen=True, slots=True)
class Subscript:
    """``value[items]``."""

    value: Node
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """``low:high`` of a subscript."""

    low: Node | None
    high: Node | None


@dataclass(frozen=True, slots=True)
class Binary:
    """Operands joined by one left-associative operator."""

    op: str
    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Projection:
    """The value of a shortcut: projected, if any instance has a projection."""

    name: str
    value: Node


@dataclass(frozen=True, slots=True)
class Shortcut:
    """The sum of an optional shortcut, whether or not it exists.

    Attributes:
        flag: name of the attribute that says whether it exists.
        there: the value with the sum; None if that is not known yet.
        otherwise: the value without it.
    """

    flag: str
    there: Node | None
    otherwise: Node | None


@dataclass(frozen=True, slots=True)
class Entries:
    """A dictionary with names as keys."""

    items: tuple[Argument, ...]


Node = (
    Leaf
    | Text
    | Call
    | Make
    | Items
    | Star
    | First
    | Maybe
    | Either
    | Var
    | Setting
    | Own
    | Each
    | Invoke
    | Attribute
    | Subscript
    | Range
    | Binary
    | Projection
    | Shortcut
    | Entries
)


# ---- statements of `forward` ---------------------------------------------------


@dataclass(frozen=True, slots=True)
class Assign:
    """``target = value``; `typed` declares it a tensor, as a module's output has no
    type.
    """

    target: str
    value: Node
    typed: bool = False


@dataclass(frozen=True, slots=True)
class Return:
    """``return value``."""

    value: Node


@dataclass(frozen=True, slots=True)
class For:
    """A loop over the submodules of a class that contains nothing else.

    Attributes:
        over: how the class, a container, provides them.
        layer: the variable for each of them.
        body: the statements of each iteration.
    """

    over: str
    layer: str
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class InTraining:
    """Statements that only run in training mode."""

    body: tuple[Statement, ...]


class Present(NamedTuple):
    """Whether a class has some submodules that are None in other instances."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class If:
    """Statements for instances for which a condition holds, and for the others.

    Attributes:
        test: condition on arguments of the constructor, which the class stores, or on
            submodules.
        then: the statements where it holds.
        otherwise: the other ones.
    """

    test: Test | Present
    then: tuple[Statement, ...]
    otherwise: tuple[Statement, ...]


Statement = Assign | Return | For | InTraining | If


# ---- making and generalising ---------------------------------------------------


def node_of(value: Any, bindings: Bindings) -> Node:
    """Return a value of the IR as an expression in the names of a class.

    A tuple of equal sizes is written as one of them; a list is written in full.
    """
    if type(value) is int:
        return Leaf(Poly.constant(value))
    if isinstance(value, str) and value.isidentifier():
        return Leaf(f'"{value}"')
    if isinstance(value, bool | str) or value is None:
        return Leaf(repr(value))
    if isinstance(value, SymFloat):
        return Leaf(Poly.name(value.name))
    if isinstance(value, int):
        return Leaf(poly_of(value).substitute(bindings))
    if isinstance(value, float):
        return Leaf(repr(float(value)))
    items = tuple(node_of(part, bindings) for part in value)
    if isinstance(value, list):
        return Items(items, ("[", "]"))
    return items[0] if len(set(items)) == 1 else Items(items)


def generalise(copies: Sequence[Node]) -> Node | None:
    """Return the expression that gives the copies for i = 0, 1, ..., or None.

    Numbers must be equal or grow by equal steps.
    """
    first = copies[0]
    if any(type(copy) is not type(first) for copy in copies):
        return None
    if isinstance(first, Leaf):
        return _leaf([c.value for c in copies if isinstance(c, Leaf)])
    if isinstance(first, Items):
        parts = _each([c.items for c in copies if isinstance(c, Items)])
        return first._replace(items=parts) if parts is not None else None
    if isinstance(first, Call):
        calls = [c for c in copies if isinstance(c, Call)]
        if len({(c.function, c.spread) for c in calls}) > 1:
            return None
        args = _arguments([c.args for c in calls])
        return first._replace(args=args) if args is not None else None
    if isinstance(first, Make):
        makes = [c for c in copies if isinstance(c, Make)]
        if any(c.target is not first.target for c in makes):
            return None
        args = _arguments([c.args for c in makes])
        return first.with_args(args) if args is not None else None
    if isinstance(first, Maybe):
        return _generalise_maybes([c for c in copies if isinstance(c, Maybe)])
    return first if all(copy == first for copy in copies) else None


def _generalise_maybes(copies: list[Maybe]) -> Node | None:
    if len({copy.test for copy in copies}) > 1:
        return None
    known = [copy.node for copy in copies if copy.node is not None]
    node = generalise(known) if known else None
    if known and node is None:
        return None
    states = frozenset[bool]().union(*(copy.states for copy in copies))
    return Maybe(node, copies[0].test, states)


def _arguments(copies: list[tuple[Argument, ...]]) -> tuple[Argument, ...] | None:
    names = [a.name for a in copies[0]]
    if any([a.name for a in copy] != names for copy in copies):
        return None
    values = _each([tuple(a.value for a in copy) for copy in copies])
    if values is None:
        return None
    return tuple(Argument(n, v) for n, v in zip(names, values, strict=True))


def _each(copies: list[tuple[Node, ...]]) -> tuple[Node, ...] | None:
    if len({len(copy) for copy in copies}) > 1:
        return None
    parts = [generalise(column) for column in zip(*copies, strict=True)]
    kept = tuple(part for part in parts if part is not None)
    return kept if len(kept) == len(parts) else None


def _leaf(values: Sequence[Poly | str]) -> Node | None:
    """Return an expression for all values: a progression, or a first one and a rest."""
    if all(value == values[0] for value in values):
        return Leaf(values[0])
    even = affine(values)
    if len(values) == 2:
        # Two points fit any progression, so only a simple step counts as one.
        step = values[1] - values[0] if even else None  # type: ignore[operator]
        plain = isinstance(step, Poly) and len(step.terms) < 2 and bool(step.names())
        return even if plain else First(Leaf(values[0]), Leaf(values[1]))
    if even is not None:
        return even
    if all(value == values[1] for value in values[1:]):
        return First(Leaf(values[0]), Leaf(values[1]))
    return None


def affine(values: Sequence[Poly | str]) -> Leaf | None:
    """Return the number that gives the items for i = 0, 1, ..., or None."""
    if all(value == values[0] for value in values):
        return Leaf(values[0])
    polys = [value for value in values if isinstance(value, Poly)]
    if len(polys) < len(values):
        return None
    step = polys[1] - polys[0]
    for number, poly in enumerate(polys):
        if poly != polys[0] + Poly.constant(number) * step:
            return None
    return Leaf(polys[0] + Poly.name(INDEX) * step)


def has_first(node: Node) -> bool:
    """Return whether the first iteration of a loop differs from the rest."""
    if isinstance(node, First):
        return True
    if isinstance(node, Call | Make):
        return any(has_first(argument.value) for argument in node.args)
    return False


# ---- walking -------------------------------------------------------------------


def names_in(node: Node) -> set[str]:
    """Return the names of the constructor that an expression uses."""
    if isinstance(node, Maybe):
        found = names_in(node.node) if node.node is not None else set()
        return found | (conditions.names(node.test) if len(node.states) > 1 else set())
    if isinstance(node, First):
        return names_in(node.first) | names_in(node.rest) | {INDEX}
    if isinstance(node, Either):
        inner = names_in(node.there) | names_in(node.otherwise)
        return inner | conditions.names(node.test)
    if isinstance(node, Leaf):
        return node.value.names() if isinstance(node.value, Poly) else set()
    if isinstance(node, Text):
        return conditions.reads(node.label)
    if isinstance(node, Star):
        return (names_in(node.item) - {INDEX}) | node.times.names()
    return set().union(*map(names_in, parts_of(node)))


def parts_of(node: Node) -> Sequence[Node]:
    """Return the direct parts of an expression.

    For an instance of a class, those are the arguments that its constructor takes.
    """
    match node:
        case Leaf() | Var():
            return ()
        case Call():
            return [argument.value for argument in node.args]
        case Entries():
            return [argument.value for argument in node.items]
        case Text() | Setting() | Own() | Each():
            return ()
        case Make():
            return [argument.value for argument in arguments_of(node)]
        case Items():
            return node.items
        case Star():
            return (node.item,)
        case First():
            return node.first, node.rest
        case Either():
            return node.there, node.otherwise
        case Maybe():
            return () if node.node is None else (node.node,)
        case Invoke():
            return [node.callee, *(argument.value for argument in node.args)]
        case Attribute() | Projection():
            return (node.value,)
        case Subscript():
            return node.value, *node.items
        case Range():
            return [end for end in (node.low, node.high) if end is not None]
        case Binary():
            return node.operands
        case Shortcut():
            return [one for one in (node.there, node.otherwise) if one is not None]


def arguments_of(node: Call | Make) -> Sequence[Argument]:
    """Return the arguments of a call as they are written."""
    if isinstance(node, Make):
        return node.target.select(dict(node.args))
    return settled(node.args)


def polys_in(node: Node) -> Iterator[Poly]:
    """Yield the numbers in an expression, in the order in which they are written."""
    if isinstance(node, Leaf) and isinstance(node.value, Poly):
        yield node.value
    for part in parts_of(node):
        if isinstance(part, Leaf):
            if isinstance(part.value, Poly):
                yield part.value
        else:
            yield from polys_in(part)
    if isinstance(node, Star):
        yield node.times


def mapped(node: Node, change: Callable[[Node], Node]) -> Node:
    """Return an expression with a function applied to every part, innermost first."""
    match node:
        case Call():
            made: Node = node._replace(args=_mapped_arguments(node.args, change))
        case Make():
            made = node.with_args(_mapped_arguments(node.args, change))
        case Entries():
            made = Entries(_mapped_arguments(node.items, change))
        case Items():
            made = node._replace(items=_each_mapped(node.items, change))
        case Star():
            made = node._replace(item=mapped(node.item, change))
        case First():
            made = First(mapped(node.first, change), mapped(node.rest, change))
        case Either():
            sides = mapped(node.there, change), mapped(node.otherwise, change)
            made = Either(node.test, *sides)
        case Maybe():
            made = node._replace(node=_maybe_mapped(node.node, change))
        case Invoke():
            args = _mapped_arguments(node.args, change)
            made = Invoke(mapped(node.callee, change), args)
        case Attribute() | Projection():
            made = replace(node, value=mapped(node.value, change))
        case Subscript():
            items = _each_mapped(node.items, change)
            made = Subscript(mapped(node.value, change), items)
        case Range():
            low = _maybe_mapped(node.low, change)
            made = Range(low, _maybe_mapped(node.high, change))
        case Binary():
            made = Binary(node.op, _each_mapped(node.operands, change))
        case Shortcut():
            there = _maybe_mapped(node.there, change)
            made = Shortcut(node.flag, there, _maybe_mapped(node.otherwise, change))
        case _:
            made = node
    return change(made)


def _mapped_arguments(
    args: Sequence[Argument], change: Callable[[Node], Node]
) -> tuple[Argument, ...]:
    return tuple([Argument(a.name, mapped(a.value, change)) for a in args])


def _each_mapped(
    nodes: Sequence[Node], change: Callable[[Node], Node]
) -> tuple[Node, ...]:
    return tuple([mapped(node, change) for node in nodes])


def _maybe_mapped(node: Node | None, change: Callable[[Node], Node]) -> Node | None:
    return None if node is None else mapped(node, change)


def mapped_statements(
    statements: Sequence[Statement], change: Callable[[Node], Node]
) -> tuple[Statement, ...]:
    """Return statements with a function applied to every expression."""
    found: list[Statement] = []
    for statement in statements:
        if isinstance(statement, For | InTraining):
            body = mapped_statements(statement.body, change)
            found.append(replace(statement, body=body))
        elif isinstance(statement, If):
            then = mapped_statements(statement.then, change)
            otherwise = mapped_statements(statement.otherwise, change)
            found.append(If(statement.test, then, otherwise))
        else:
            value = mapped(statement.value, change)
            found.append(replace(statement, value=value))
    return tuple(found)


def expressions_in(statements: Sequence[Statement]) -> Iterator[Node]:
    """Yield the expressions of statements, each with all its parts."""
    for statement in statements:
        if isinstance(statement, For | InTraining):
            yield from expressions_in(statement.body)
            continue
        if isinstance(statement, If):
            yield from expressions_in(statement.then)
            yield from expressions_in(statement.otherwise)
            continue
        stack: list[Node] = [statement.value]
        while stack:
            one = stack.pop()
            yield one
            if parts := parts_of(one):
                stack.extend(reversed(parts))


def in_variables(node: Node, names: Mapping[Poly, str]) -> Node:
    """Return an expression with some numbers replaced by variables."""

    def change(one: Node) -> Node:
        if isinstance(one, Leaf) and isinstance(one.value, Poly):
            return Leaf(Poly.name(names[one.value])) if one.value in names else one
        if isinstance(one, Maybe | Either):
            return one._replace(test=conditions.with_names(one.test, names))
        return one

    return mapped(node, change) if names else node


def settled(args: Sequence[Argument]) -> list[Argument]:
    """Return arguments without the conditions that have the same value in all calls."""
    found = []
    for argument in args:
        value = argument.value
        if isinstance(value, Maybe) and len(value.states) == 1:
            if value.node is not None:
                found.append(Argument(argument.name, value.node))
        else:
            found.append(argument)
    return found
