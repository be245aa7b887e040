"""Conditions on a block's parameters, and labels computed from them, as data.

Their numbers are polynomials over the block's names, so that a backend can write them
with its own names for these.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from .symbolic import Poly

COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

# An integer with its expression, or a plain float.
Number = Poly | float
Bindings = Mapping[str, Poly]


class Relation(NamedTuple):
    """Two numbers and a comparison, such as ``==`` or ``<=``."""

    left: Number
    op: str
    right: Number


class Truth(NamedTuple):
    """A boolean parameter."""

    name: str


class Not(NamedTuple):
    """The negation of a condition."""

    test: Test


class Joined(NamedTuple):
    """Conditions joined by `and` or `or`."""

    op: Literal["and", "or"]
    tests: tuple[Test, ...]


Test = Relation | Truth | Not | Joined

# A name as parts: text, and numbers computed from parameters.
LabelTemplate = tuple[str | Poly, ...]


def join_conditions(op: Literal["and", "or"], tests: Sequence[Test]) -> Test | None:
    """Return one condition for several, or None for none."""
    if len(tests) < 2:
        return tests[0] if tests else None
    return Joined(op, tuple(tests))


def substitute(test: Test, bindings: Bindings) -> Test:
    """Return a condition with names replaced, all of them at once."""
    if isinstance(test, Relation):
        left, right = (_number(side, bindings) for side in (test.left, test.right))
        return Relation(left, test.op, right)
    if isinstance(test, Not):
        return Not(substitute(test.test, bindings))
    if isinstance(test, Joined):
        return Joined(test.op, tuple(substitute(one, bindings) for one in test.tests))
    return test


def _number(number: Number, bindings: Bindings) -> Number:
    return number.substitute(bindings) if isinstance(number, Poly) else number


def condition_parameters(test: Test) -> set[str]:
    """Return the parameters that a condition depends on."""
    if isinstance(test, Relation):
        sides = [side for side in (test.left, test.right) if isinstance(side, Poly)]
        return set().union(*(side.names() for side in sides))
    if isinstance(test, Not):
        return condition_parameters(test.test)
    if isinstance(test, Joined):
        return set().union(*map(condition_parameters, test.tests))
    return {test.name}


def compared_numbers(test: Test) -> list[Poly]:
    """Return the integers that a condition compares, in order."""
    if isinstance(test, Relation):
        return [side for side in (test.left, test.right) if isinstance(side, Poly)]
    if isinstance(test, Not):
        return compared_numbers(test.test)
    if isinstance(test, Joined):
        return [number for one in test.tests for number in compared_numbers(one)]
    return []


def with_names(test: Test, variables: Mapping[Poly, str]) -> Test:
    """Return a condition in which some numbers are read from variables."""
    if isinstance(test, Relation):
        sides = [
            Poly.name(variables[side])
            if isinstance(side, Poly) and side in variables
            else side
            for side in (test.left, test.right)
        ]
        return Relation(sides[0], test.op, sides[1])
    if isinstance(test, Not):
        return Not(with_names(test.test, variables))
    if isinstance(test, Joined):
        inner = tuple(with_names(one, variables) for one in test.tests)
        return Joined(test.op, inner)
    return test


OPPOSITES: Final[Mapping[str, str]] = {
    "==": "!=",
    "!=": "==",
    "<": ">=",
    ">=": "<",
    ">": "<=",
    "<=": ">",
}


def opposite(test: Test) -> Test:
    """Return the condition that holds where another one fails."""
    match test:
        case Relation():
            return test._replace(op=OPPOSITES[test.op])
        case Not():
            return test.test
        case _:
            return Not(test)


def answer(test: Test, known: Mapping[Test, bool]) -> bool | None:
    """Return whether a condition holds, if it or its opposite was answered."""
    if test in known:
        return known[test]
    other = known.get(opposite(test))
    return None if other is None else not other


def renamed(test: Test, new: Mapping[str, str]) -> Test:
    """Return a condition in which parameters have other names."""
    match test:
        case Truth():
            return Truth(new.get(test.name, test.name))
        case Not():
            return Not(renamed(test.test, new))
        case Joined():
            return Joined(test.op, tuple(renamed(one, new) for one in test.tests))
        case Relation():
            return substitute(test, {n: Poly.name(to) for n, to in new.items()})


def label(parts: Sequence[str | Poly]) -> LabelTemplate:
    """Return a label with adjacent texts and plain numbers merged."""
    found: list[str | Poly] = []
    for part in parts:
        plain = isinstance(part, Poly) and part.number is not None
        one = str(part) if plain else part
        if found and isinstance(one, str) and isinstance(found[-1], str):
            found[-1] += one
        elif one != "":
            found.append(one)
    return tuple(found)


def label_parameters(written: LabelTemplate) -> set[str]:
    """Return the parameters that a label depends on."""
    return set().union(*(part.names() for part in written if isinstance(part, Poly)))
