"""Whether two `forward`s do the same, whatever they call their variables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, NamedTuple

from archdsl.backends.torch.nodes import (
    Argument,
    Assign,
    Attribute,
    Binary,
    Call,
    Each,
    Entries,
    If,
    Invoke,
    Leaf,
    Node,
    Own,
    Present,
    Projection,
    Range,
    Return,
    Setting,
    Shortcut,
    Statement,
    Var,
    mapped_statements,
    parts_of,
)
from archdsl.conditions import Test, answer

Tests = Mapping[Test, bool]


class _Done(NamedTuple):
    """The result of an operation, by the number of those before it."""

    place: int


def trace(
    statements: Sequence[Statement], absent: Set[str] = frozenset()
) -> list[Any] | None:
    """Return the operations of statements in the order in which they run.

    None for statements with loops or conditions.

    Args:
        statements: the statements.
        absent: projections that are identities.
    """
    done: list[Any] = []
    known: dict[str, Any] = {}

    def value(node: Node) -> Any:
        match node:
            case Var():
                return known.get(node.name, node)
            case Leaf() | Setting() | Own() | Each():
                return node
            case Projection() if node.name in absent:
                return value(node.value)
            case Projection():
                return value(Invoke(Own(node.name), _only(node.value)))
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


def _only(node: Node) -> tuple[Argument, ...]:
    return (Argument("", node),)


def _head(node: Node) -> Iterator[Any]:
    """Yield what an operation is besides its operands."""
    match node:
        case Call():
            yield node.function
            yield from [argument.name for argument in node.args]
        case Invoke():
            yield from [argument.name for argument in node.args]
        case Attribute():
            yield node.name
        case Binary():
            yield node.op
        case Range():
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
    statements: Sequence[Statement], tests: Tests, holes: Mapping[str, Test]
) -> tuple[Statement, ...]:
    """Return the statements of a class as they are for calls with some answers.

    Args:
        statements: the statements.
        tests: answers to conditions.
        holes: the conditions of submodules that are identities otherwise.
    """
    found: list[Statement] = []
    for one in statements:
        if isinstance(one, If) and not isinstance(one.test, Present):
            holds = answer(one.test, tests)
            if holds is not None:
                side = one.then if holds else one.otherwise
                found += seen_by(side, tests, holes)
                continue
        found.append(one)

    def change(node: Node) -> Node:
        if isinstance(node, Projection) and node.name in holes:
            holds = answer(holes[node.name], tests)
            if holds is not None:
                own = Invoke(Own(node.name), _only(node.value))
                return own if holds else node.value
        return node

    return mapped_statements(found, change) if holes else tuple(found)


def without(
    statements: Sequence[Statement], missing: Set[str]
) -> tuple[Statement, ...]:
    """Return statements without some projections."""

    def change(node: Node) -> Node:
        here = isinstance(node, Projection) and node.name in missing
        return node.value if here and isinstance(node, Projection) else node

    return mapped_statements(statements, change) if missing else tuple(statements)


def as_projections(
    statements: Sequence[Statement], names: Set[str]
) -> tuple[Statement, ...]:
    """Return statements in which calls of some submodules may be identities."""

    def change(node: Node) -> Node:
        if isinstance(node, Invoke) and isinstance(node.callee, Own):
            (first, *rest) = node.args
            if node.callee.name in names and not rest:
                return Projection(node.callee.name, first.value)
        return node

    return mapped_statements(statements, change)


def divided(
    test: Test, mine: Sequence[Statement], theirs: Sequence[Statement], holds: bool
) -> tuple[Statement, ...]:
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
    middle = If(test, sides[holds], sides[not holds])
    return (*mine[:begin], middle, *mine[len(mine) - end :])


def same(one: Sequence[Statement], other: Sequence[Statement]) -> bool:
    """Return whether statements do the same in the same order."""
    if one == other:
        return True
    first = trace(one)
    return first is not None and first == trace(other)
