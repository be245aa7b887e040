"""Whether two `forward`s do the same, whatever they call their variables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, NamedTuple

from archdsl.backends.torch.nodes import (
    Argument,
    Assign,
    Attribute,
    BinaryExpr,
    CallExpr,
    Entries,
    IfStatement,
    Invoke,
    LiteralExpr,
    LoopVariable,
    Present,
    Projection,
    PyExpression,
    PyStatement,
    Return,
    SelfAttribute,
    Shortcut,
    SliceExpr,
    StoredNumber,
    Var,
    mapped_statements,
    parts_of,
)
from archdsl.conditions import Test, answer

Tests = Mapping[Test, bool]


class _Done(NamedTuple):
    """The result of an operation, by the number of those before it."""

    place: int


def trace_statements(
    statements: Sequence[PyStatement], absent: Set[str] = frozenset()
) -> list[Any] | None:
    """Return the operations of statements in the order in which they run.

    None for statements with loops or conditions.

    Args:
        statements: the statements.
        absent: projections that are identities.
    """
    done: list[Any] = []
    known: dict[str, Any] = {}

    def value(node: PyExpression) -> Any:
        match node:
            case Var():
                return known.get(node.name, node)
            case LiteralExpr() | StoredNumber() | SelfAttribute() | LoopVariable():
                return node
            case Projection() if node.name in absent:
                return value(node.value)
            case Projection():
                return value(Invoke(SelfAttribute(node.name), _only(node.value)))
            case _:
                pass
        operands = [value(part) for part in parts_of(node)]
        done.append((type(node).__name__, *_head(node), *operands))
        return _Done(len(done))

    for one in statements:
        match one:
            case Assign():
                known[one.target] = value(one.value)
            case Return():
                done.append(("return", value(one.value)))
            case _:
                return None
    return done


def _only(node: PyExpression) -> tuple[Argument, ...]:
    return (Argument("", node),)


def _head(node: PyExpression) -> Iterator[Any]:
    """Yield all properties of an operation but its operands."""
    match node:
        case CallExpr():
            yield node.function
            yield from [argument.name for argument in node.args]
        case Invoke():
            yield from [argument.name for argument in node.args]
        case Attribute():
            yield node.name
        case BinaryExpr():
            yield node.op
        case SliceExpr():
            yield node.low is None
            yield node.high is None
        case Entries():
            yield from [argument.name for argument in node.items]
        case Shortcut():
            yield node.flag
            yield node.there is None
            yield node.otherwise is None
        case _:
            pass


def seen_by(
    statements: Sequence[PyStatement], tests: Tests, holes: Mapping[str, Test]
) -> tuple[PyStatement, ...]:
    """Return a class's statements as they are for calls with some answers.

    Args:
        statements: the statements.
        tests: answers to conditions.
        holes: the conditions of submodules that are identities otherwise.
    """
    found: list[PyStatement] = []
    for one in statements:
        if isinstance(one, IfStatement) and not isinstance(one.test, Present):
            holds = answer(one.test, tests)
            if holds is not None:
                side = one.then if holds else one.otherwise
                found += seen_by(side, tests, holes)
                continue
        found.append(one)

    def change(node: PyExpression) -> PyExpression:
        if isinstance(node, Projection) and node.name in holes:
            holds = answer(holes[node.name], tests)
            if holds is not None:
                own = Invoke(SelfAttribute(node.name), _only(node.value))
                return own if holds else node.value
        return node

    return mapped_statements(found, change) if holes else tuple(found)


def without_projections(
    statements: Sequence[PyStatement], missing: Set[str]
) -> tuple[PyStatement, ...]:
    """Return statements without some projections."""

    def change(node: PyExpression) -> PyExpression:
        here = isinstance(node, Projection) and node.name in missing
        return node.value if here and isinstance(node, Projection) else node

    return mapped_statements(statements, change) if missing else tuple(statements)


def as_projections(
    statements: Sequence[PyStatement], names: Set[str]
) -> tuple[PyStatement, ...]:
    """Return statements in which calls of some submodules may be identities."""

    def change(node: PyExpression) -> PyExpression:
        if isinstance(node, Invoke) and isinstance(node.callee, SelfAttribute):
            (first, *rest) = node.args
            if node.callee.name in names and not rest:
                return Projection(node.callee.name, first.value)
        return node

    return mapped_statements(statements, change)


def divided(
    test: Test, mine: Sequence[PyStatement], theirs: Sequence[PyStatement], holds: bool
) -> tuple[PyStatement, ...]:
    """Return statements that test a condition where two calls differ.

    Args:
        test: the condition.
        mine: statements where it has the other answer.
        theirs: statements where it has this one.
        holds: the answer.
    """
    if mine == theirs:
        return tuple(mine)
    least = min(len(mine), len(theirs))
    begin = 0
    while begin < least and mine[begin] == theirs[begin]:
        begin += 1
    end = 0
    while end < least - begin and mine[-1 - end] == theirs[-1 - end]:
        end += 1
    sides = [tuple(one[begin : len(one) - end]) for one in (mine, theirs)]
    middle = IfStatement(test, sides[holds], sides[not holds])
    return (*mine[:begin], middle, *mine[len(mine) - end :])


def same_statements(one: Sequence[PyStatement], other: Sequence[PyStatement]) -> bool:
    """Return whether statements do the same in the same order."""
    if one == other:
        return True
    first = trace_statements(one)
    return first is not None and first == trace_statements(other)
