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
from archdsl.conditions import LabelTemplate, Test
from archdsl.symbolic import Poly, SymFloat, poly_of

INDEX = "i"

Bindings = Mapping[str, Poly]


class ClassRef(Protocol):
    """A class of the emitted module, whose name and parameters are decided last.

    Attributes:
        calls: the expressions that create an instance.
    """

    calls: list[Make]

    def title(self) -> str:
        """Return the class's name."""
        ...

    def select(self, args: Mapping[str, PyExpression]) -> Sequence[Argument]:
        """Return the arguments that the constructor takes, in order."""
        ...


# ---- expressions of a constructor ---------------------------------------------


class LiteralExpr(NamedTuple):
    """A number with its expression, or text that is written verbatim."""

    value: Poly | str


class Text(NamedTuple):
    """A name as a string, which can depend on parameters."""

    label: LabelTemplate


class Argument(NamedTuple):
    """One argument of a call; a positional one has an empty `name`."""

    name: str
    value: PyExpression


class TypeExpr(NamedTuple):
    """A class of modules as a value, such as ``nn.ReLU``."""

    name: str


class CallExpr(NamedTuple):
    """A call of a torch callable.

    Attributes:
        function: its name.
        args: its arguments.
        spread: whether each argument has a line of its own.
        chosen_by: the block's parameters that may have chosen the layer kind.
    """

    function: str
    args: tuple[Argument, ...]
    spread: bool = False
    chosen_by: tuple[str, ...] = ()


class Make:
    """An instance of a class of the emitted module.

    Attributes:
        target: the class.
        args: possible arguments of its constructor, by name. The class may need more of
            them once it serves other calls as well.
    """

    __slots__ = ("args", "target")

    def __init__(self, target: ClassRef, args: tuple[Argument, ...]) -> None:
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


class SequenceExpr(NamedTuple):
    """A tuple of at least two items, or a list."""

    items: tuple[PyExpression, ...]
    brackets: tuple[str, str] = ("(", ")")


class Star(NamedTuple):
    """``*(item for i in range(count))``."""

    item: PyExpression
    times: Poly
    indexed: bool


class First(NamedTuple):
    """One expression in the first iteration of a loop, and another one in the rest."""

    first: PyExpression
    rest: PyExpression


class Maybe(NamedTuple):
    """An argument that exists under a condition.

    Attributes:
        node: the argument; None while no call with it is known.
        test: condition on the constructor's arguments.
        states: its values in the known calls.
    """

    node: PyExpression | None
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
    there: PyExpression
    otherwise: PyExpression


# ---- expressions of `forward` --------------------------------------------------


@dataclass(frozen=True, slots=True)
class Var:
    """A local variable."""

    name: str


@dataclass(frozen=True, slots=True)
class StoredNumber:
    """A number computed from arguments of the constructor, which the class stores."""

    number: Poly


@dataclass(frozen=True, slots=True)
class SelfAttribute:
    """An attribute of the class: a submodule, a parameter or a setting.

    Attributes:
        name: name of the attribute.
        indexed: whether it is a number, used as an index into a Sequential.
    """

    name: str
    indexed: bool = False


@dataclass(frozen=True, slots=True)
class LoopVariable:
    """The submodule of an iteration of the enclosing loop, in a variable with that
    name.
    """

    name: str


@dataclass(frozen=True, slots=True)
class Invoke:
    """A call of a submodule, or of a method."""

    callee: PyExpression
    args: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Attribute:
    """``value.name``."""

    value: PyExpression
    name: str


@dataclass(frozen=True, slots=True)
class Subscript:
    """``value[items]``."""

    value: PyExpression
    items: tuple[PyExpression, ...]


@dataclass(frozen=True, slots=True)
class SliceExpr:
    """``low:high`` of a subscript."""

    low: PyExpression | None
    high: PyExpression | None


@dataclass(frozen=True, slots=True)
class BinaryExpr:
    """Operands joined by one left-associative operator."""

    op: str
    operands: tuple[PyExpression, ...]


@dataclass(frozen=True, slots=True)
class Projection:
    """The value of a shortcut: projected, if any instance has a projection."""

    name: str
    value: PyExpression


@dataclass(frozen=True, slots=True)
class Shortcut:
    """The sum of an optional shortcut, whether or not it exists.

    Attributes:
        flag: name of the attribute that says whether it exists.
        there: the value with the sum; None if that is not known yet.
        otherwise: the value without it.
    """

    flag: str
    there: PyExpression | None
    otherwise: PyExpression | None


@dataclass(frozen=True, slots=True)
class Entries:
    """A dictionary with names as keys."""

    items: tuple[Argument, ...]


PyExpression = (
    LiteralExpr
    | Text
    | TypeExpr
    | CallExpr
    | Make
    | SequenceExpr
    | Star
    | First
    | Maybe
    | Either
    | Var
    | StoredNumber
    | SelfAttribute
    | LoopVariable
    | Invoke
    | Attribute
    | Subscript
    | SliceExpr
    | BinaryExpr
    | Projection
    | Shortcut
    | Entries
)


# ---- statements of `forward` ---------------------------------------------------


@dataclass(frozen=True, slots=True)
class Assign:
    """``target = value``, or of a call with several outputs ``target, other = value``.

    `typed` declares the target a tensor, as a module's output has no type.
    """

    target: str
    value: PyExpression
    typed: bool = False
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Return:
    """``return value``."""

    value: PyExpression


@dataclass(frozen=True, slots=True)
class ForStatement:
    """A loop over the submodules of a class that contains nothing else.

    Attributes:
        over: how the class, a container, provides them.
        layer: the variable for each of them.
        body: the statements of each iteration.
    """

    over: str
    layer: str
    body: tuple[PyStatement, ...]


@dataclass(frozen=True, slots=True)
class InTraining:
    """Statements that only run in training mode."""

    body: tuple[PyStatement, ...]


class Present(NamedTuple):
    """Whether a class has some submodules that are None in other instances."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IfStatement:
    """Statements for instances for which a condition holds, and for the others.

    Attributes:
        test: condition on arguments of the constructor, which the class stores, or on
            submodules.
        then: the statements where it holds.
        otherwise: the other ones.
    """

    test: Test | Present
    then: tuple[PyStatement, ...]
    otherwise: tuple[PyStatement, ...]


PyStatement = Assign | Return | ForStatement | InTraining | IfStatement


# ---- making and generalising ---------------------------------------------------


def node_of(value: Any, bindings: Bindings) -> PyExpression:
    """Return a value of the IR as an expression in the names of a class.

    A tuple of equal sizes is written as one of them; a list is written in full.
    """
    if type(value) is int:
        return LiteralExpr(Poly.constant(value))
    if isinstance(value, str) and value.isidentifier():
        return LiteralExpr(f'"{value}"')
    if isinstance(value, bool | str) or value is None:
        return LiteralExpr(repr(value))
    if isinstance(value, SymFloat):
        return LiteralExpr(Poly.name(value.name))
    if isinstance(value, int):
        return LiteralExpr(poly_of(value).substitute(bindings))
    if isinstance(value, float):
        return LiteralExpr(repr(float(value)))
    items = tuple(node_of(part, bindings) for part in value)
    if isinstance(value, list):
        return SequenceExpr(items, ("[", "]"))
    return items[0] if len(set(items)) == 1 else SequenceExpr(items)


def generalise(copies: Sequence[PyExpression]) -> PyExpression | None:
    """Return the expression that gives the copies for i = 0, 1, ..., or None.

    Numbers must be equal or grow by equal steps.
    """
    first = copies[0]
    if any(type(copy) is not type(first) for copy in copies):
        return None
    if isinstance(first, LiteralExpr):
        return _leaf([c.value for c in copies if isinstance(c, LiteralExpr)])
    if isinstance(first, SequenceExpr):
        parts = _each([c.items for c in copies if isinstance(c, SequenceExpr)])
        return first._replace(items=parts) if parts is not None else None
    if isinstance(first, CallExpr):
        calls = [c for c in copies if isinstance(c, CallExpr)]
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


def _generalise_maybes(copies: list[Maybe]) -> PyExpression | None:
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


def _each(copies: list[tuple[PyExpression, ...]]) -> tuple[PyExpression, ...] | None:
    if len({len(copy) for copy in copies}) > 1:
        return None
    parts = [generalise(column) for column in zip(*copies, strict=True)]
    kept = tuple(part for part in parts if part is not None)
    return kept if len(kept) == len(parts) else None


def _leaf(values: Sequence[Poly | str]) -> PyExpression | None:
    """Return an expression for all values: a progression, or a first one and a rest."""
    if all(value == values[0] for value in values):
        return LiteralExpr(values[0])
    even = affine(values)
    if len(values) == 2:
        # Two points fit any progression, so only a simple step counts as one.
        step = values[1] - values[0] if even else None  # type: ignore[operator]
        plain = isinstance(step, Poly) and len(step.terms) < 2 and bool(step.names())
        return even if plain else First(LiteralExpr(values[0]), LiteralExpr(values[1]))
    if even is not None:
        return even
    if all(value == values[1] for value in values[1:]):
        return First(LiteralExpr(values[0]), LiteralExpr(values[1]))
    return None


def affine(values: Sequence[Poly | str]) -> LiteralExpr | None:
    """Return the number that gives the items for i = 0, 1, ..., or None."""
    if all(value == values[0] for value in values):
        return LiteralExpr(values[0])
    polys = [value for value in values if isinstance(value, Poly)]
    if len(polys) < len(values):
        return None
    step = polys[1] - polys[0]
    for number, poly in enumerate(polys):
        if poly != polys[0] + Poly.constant(number) * step:
            return None
    return LiteralExpr(polys[0] + Poly.name(INDEX) * step)


def has_first(node: PyExpression) -> bool:
    """Return whether the first iteration of a loop differs from the rest."""
    if isinstance(node, First):
        return True
    if isinstance(node, CallExpr | Make):
        return any(has_first(argument.value) for argument in node.args)
    return False


# ---- walking -------------------------------------------------------------------


def names_in(node: PyExpression) -> set[str]:
    """Return the names of the constructor that an expression uses."""
    if isinstance(node, Maybe):
        found = names_in(node.node) if node.node is not None else set()
        return found | (
            conditions.condition_parameters(node.test)
            if len(node.states) > 1
            else set()
        )
    if isinstance(node, First):
        return names_in(node.first) | names_in(node.rest) | {INDEX}
    if isinstance(node, Either):
        inner = names_in(node.there) | names_in(node.otherwise)
        return inner | conditions.condition_parameters(node.test)
    if isinstance(node, LiteralExpr):
        return node.value.names() if isinstance(node.value, Poly) else set()
    if isinstance(node, Text):
        return conditions.label_parameters(node.label)
    if isinstance(node, Star):
        return (names_in(node.item) - {INDEX}) | node.times.names()
    return set().union(*map(names_in, parts_of(node)))


def parts_of(node: PyExpression) -> Sequence[PyExpression]:
    """Return the direct parts of an expression.

    For an instance of a class, those are the arguments that its constructor takes.
    """
    match node:
        case LiteralExpr() | Var():
            return ()
        case CallExpr():
            return [argument.value for argument in node.args]
        case Entries():
            return [argument.value for argument in node.items]
        case Text() | TypeExpr() | StoredNumber() | SelfAttribute() | LoopVariable():
            return ()
        case Make():
            return [argument.value for argument in written_arguments(node)]
        case SequenceExpr():
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
        case SliceExpr():
            return [end for end in (node.low, node.high) if end is not None]
        case BinaryExpr():
            return node.operands
        case Shortcut():
            return [one for one in (node.there, node.otherwise) if one is not None]


def written_arguments(node: CallExpr | Make) -> Sequence[Argument]:
    """Return the arguments of a call as they are written."""
    if isinstance(node, Make):
        return node.target.select(dict(node.args))
    return settled(node.args)


def polys_in(node: PyExpression) -> Iterator[Poly]:
    """Yield the numbers in an expression, in the order in which they are written."""
    if isinstance(node, LiteralExpr) and isinstance(node.value, Poly):
        yield node.value
    for part in parts_of(node):
        if isinstance(part, LiteralExpr):
            if isinstance(part.value, Poly):
                yield part.value
        else:
            yield from polys_in(part)
    if isinstance(node, Star):
        yield node.times


def mapped(
    node: PyExpression, change: Callable[[PyExpression], PyExpression]
) -> PyExpression:
    """Return an expression with a function applied to every part, innermost first."""
    match node:
        case CallExpr():
            made: PyExpression = node._replace(
                args=_mapped_arguments(node.args, change)
            )
        case Make():
            made = node.with_args(_mapped_arguments(node.args, change))
        case Entries():
            made = Entries(_mapped_arguments(node.items, change))
        case SequenceExpr():
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
        case SliceExpr():
            low = _maybe_mapped(node.low, change)
            made = SliceExpr(low, _maybe_mapped(node.high, change))
        case BinaryExpr():
            made = BinaryExpr(node.op, _each_mapped(node.operands, change))
        case Shortcut():
            there = _maybe_mapped(node.there, change)
            made = Shortcut(node.flag, there, _maybe_mapped(node.otherwise, change))
        case _:
            made = node
    return change(made)


def _mapped_arguments(
    args: Sequence[Argument], change: Callable[[PyExpression], PyExpression]
) -> tuple[Argument, ...]:
    return tuple([Argument(a.name, mapped(a.value, change)) for a in args])


def _each_mapped(
    nodes: Sequence[PyExpression], change: Callable[[PyExpression], PyExpression]
) -> tuple[PyExpression, ...]:
    return tuple([mapped(node, change) for node in nodes])


def _maybe_mapped(
    node: PyExpression | None, change: Callable[[PyExpression], PyExpression]
) -> PyExpression | None:
    return None if node is None else mapped(node, change)


def mapped_statements(
    statements: Sequence[PyStatement], change: Callable[[PyExpression], PyExpression]
) -> tuple[PyStatement, ...]:
    """Return statements with a function applied to every expression."""
    found: list[PyStatement] = []
    for statement in statements:
        if isinstance(statement, ForStatement | InTraining):
            body = mapped_statements(statement.body, change)
            found.append(replace(statement, body=body))
        elif isinstance(statement, IfStatement):
            then = mapped_statements(statement.then, change)
            otherwise = mapped_statements(statement.otherwise, change)
            found.append(IfStatement(statement.test, then, otherwise))
        else:
            value = mapped(statement.value, change)
            found.append(replace(statement, value=value))
    return tuple(found)


def expressions_in(statements: Sequence[PyStatement]) -> Iterator[PyExpression]:
    """Yield the expressions of statements, each with all its parts."""
    for statement in statements:
        if isinstance(statement, ForStatement | InTraining):
            yield from expressions_in(statement.body)
            continue
        if isinstance(statement, IfStatement):
            yield from expressions_in(statement.then)
            yield from expressions_in(statement.otherwise)
            continue
        stack: list[PyExpression] = [statement.value]
        while stack:
            one = stack.pop()
            yield one
            if parts := parts_of(one):
                stack.extend(reversed(parts))


def in_variables(node: PyExpression, names: Mapping[Poly, str]) -> PyExpression:
    """Return an expression with some numbers replaced by variables."""

    def change(one: PyExpression) -> PyExpression:
        if isinstance(one, LiteralExpr) and isinstance(one.value, Poly):
            return (
                LiteralExpr(Poly.name(names[one.value])) if one.value in names else one
            )
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
