"""Cuts a tensor into equal parts once, and names them, if all of them are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from archdsl.backends.torch.nodes import (
    Assign,
    Attribute,
    ForStatement,
    IfStatement,
    InTraining,
    Invoke,
    LiteralExpr,
    PyExpression,
    PyStatement,
    Return,
    Subscript,
    Var,
    expressions_in,
    mapped_statements,
)
from archdsl.symbolic import Poly


class _Cut(NamedTuple):
    """A call that cuts a tensor into equal parts: ``x.chunk(2, 1)``."""

    tensor: str
    pieces: int
    call: Invoke

    def name(self, part: int) -> str:
        """Return the variable for a part."""
        return f"{self.tensor}{part + 1}"


@dataclass(eq=False)
class _Uses:
    """Statements that read parts of the same cut.

    Attributes:
        cut: the call.
        places: indices of the statements.
        parts: the parts that they read, from 0.
    """

    cut: _Cut
    places: list[int] = field(default_factory=list)
    parts: set[int] = field(default_factory=set)

    @property
    def names(self) -> list[str]:
        """The variables for the parts."""
        return [self.cut.name(part) for part in range(self.cut.pieces)]

    @property
    def is_whole(self) -> bool:
        """Whether all parts are read, and there are several."""
        return len(self.parts) == self.cut.pieces > 1


def cut_once(statements: Sequence[PyStatement]) -> tuple[PyStatement, ...]:
    """Return statements in which a tensor is cut once, where all its parts are read.

    ``x.chunk(2, 1)[0]`` and ``x.chunk(2, 1)[1]`` become ``x1`` and ``x2``, behind
    ``x1, x2 = x.chunk(2, 1)``.
    """
    taken = {node.name for node in expressions_in(statements) if isinstance(node, Var)}
    return _cut_once(statements, taken)


def _cut_once(
    statements: Sequence[PyStatement], taken: set[str]
) -> tuple[PyStatement, ...]:
    found = [[_within(one, taken)] for one in statements]
    for uses in _all_uses(statements):
        if not uses.is_whole or not taken.isdisjoint(uses.names):
            continue
        for place in uses.places:
            found[place][-1] = _with_names(found[place][-1], uses.cut)
        found[uses.places[0]].insert(0, Assign(", ".join(uses.names), uses.cut.call))
    return tuple([statement for group in found for statement in group])


def _within(statement: PyStatement, taken: set[str]) -> PyStatement:
    match statement:
        case ForStatement() | InTraining():
            return replace(statement, body=_cut_once(statement.body, taken))
        case IfStatement(test, then, otherwise):
            return IfStatement(
                test, _cut_once(then, taken), _cut_once(otherwise, taken)
            )
        case _:
            return statement


def _all_uses(statements: Sequence[PyStatement]) -> list[_Uses]:
    """Return the uses of each cut while its tensor does not change, by the first."""
    found: list[_Uses] = []
    current: dict[tuple[str, str], _Uses] = {}
    for place, one in enumerate(statements):
        if not isinstance(one, Assign | Return):
            current = {}
            continue
        for node in expressions_in([one]):
            part = _part(node)
            if part is None:
                continue
            cut, number = part
            key = cut.tensor, repr(cut.call)
            if key not in current:
                current[key] = _Uses(cut)
                found.append(current[key])
            uses = current[key]
            uses.parts.add(number)
            if place not in uses.places:
                uses.places.append(place)
        if isinstance(one, Assign):
            current = {k: uses for k, uses in current.items() if k[0] != one.target}
    return found


def _with_names(statement: PyStatement, cut: _Cut) -> PyStatement:
    def change(node: PyExpression) -> PyExpression:
        part = _part(node)
        if part is None or part[0].call != cut.call:
            return node
        return Var(cut.name(part[1]))

    return mapped_statements([statement], change)[0]


def _part(node: PyExpression) -> tuple[_Cut, int] | None:
    """Return a cut and the number of the part that an expression reads of it."""
    match node:
        case Subscript(
            Invoke(Attribute(Var(tensor), "chunk"), (count, *_)) as call,
            (LiteralExpr(Poly() as place),),
        ):
            many = count.value.value if isinstance(count.value, LiteralExpr) else None
            if isinstance(many, Poly) and many.number and place.number is not None:
                return _Cut(tensor, many.number, call), place.number
        case _:
            pass
    return None
