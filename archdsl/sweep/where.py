"""Conditions on a point's figures, in the language's own expressions."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from archdsl.diagnostics import SpecError, did_you_mean
from archdsl.source import Source
from archdsl.syntax import tree as t
from archdsl.syntax.parser import check_characters, check_nesting, parse_expression
from archdsl.values import show_shape

_SUFFIXES: Final = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
# Not a part of a name, of sizes such as 3x3, or of another number.
_NUMBER = re.compile(r'"[^"]*"|(?<![\w.])(\d[\d_]*(?:\.\d+)?)([kKMGT]?)(?![\w.])')
_HIDDEN: Final = "number_of_the_condition_"

_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ARITHMETIC: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
}
_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "abs": abs,
    "ceil": math.ceil,
    "floor": math.floor,
    "int": int,
    "log": math.log,
    "max": max,
    "min": min,
    "round": round,
    "sqrt": math.sqrt,
}


class ConditionError(ValueError):
    """A condition that says nothing; the message says why."""


class _NoValue(Exception):
    """A figure that a network does not have, or a number without a value."""


class Condition:
    """A test of points, such as ``params < 5M and macs < 600M``.

    Attributes:
        text: as written.
        names: the figures and axes that it reads.
        words: further names, which may be figures and axes, or stand for themselves.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._numbers: dict[str, int | float] = {}
        self._expr = self._parse(text)
        names, words = _names(self._expr, self._numbers)
        self.names = tuple(dict.fromkeys(names))
        self.words = tuple(dict.fromkeys(words))

    def _parse(self, text: str) -> t.Expr:
        hidden = _NUMBER.sub(self._hide, text)
        source = Source("--where", hidden)
        try:
            check_characters(source)
            check_nesting(source)
            return parse_expression(source, hidden, 0)
        except SpecError:
            raise ConditionError(f"`{text.strip()}` is not a condition") from None

    def _hide(self, found: re.Match[str]) -> str:
        """Keep a number, which may be larger than those of a spec, behind a name."""
        if found[1] is None:
            return found[0]
        digits = found[1].replace("_", "")
        factor = _SUFFIXES[found[2]]
        number = float(digits) * factor if "." in digits else int(digits) * factor
        name = f"{_HIDDEN}{len(self._numbers)}"
        self._numbers[name] = int(number) if number == int(number) else number
        return name

    def check(self, known: Collection[str]) -> None:
        """Refuse names that are neither figures nor axes.

        Raises:
            ConditionError: naming the first.
        """
        for name in self.names:
            if name not in known:
                hint = did_you_mean(name, known) or f"there are {', '.join(known)}"
                raise ConditionError(f"`{name}` is no figure and no axis; {hint}")

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Return whether a point fits; not if it lacks a figure that decides.

        Raises:
            ConditionError: if the condition cannot be computed with such values.
        """
        try:
            found = self._value(self._expr, {**values, **self._numbers})
        except (_NoValue, ZeroDivisionError, OverflowError):
            return False
        if not isinstance(found, bool):
            raise ConditionError(f"`{self.text.strip()}` is not true or false")
        return found

    def _value(self, expr: t.Expr, values: Mapping[str, Any]) -> Any:
        if isinstance(expr, t.Literal):
            return expr.value
        if isinstance(expr, t.DimsLiteral):
            return show_shape(expr.dims)
        if isinstance(expr, t.Name):
            # Another word is a text, as on an axis: `unit == bottleneck`.
            found = values.get(expr.id, expr.id)
            if found is None:
                raise _NoValue
            return found
        if isinstance(expr, t.ListExpr):
            return [self._value(item, values) for item in expr.items]
        if isinstance(expr, t.Conditional):
            chosen = expr.then if self._truth(expr.test, values) else expr.otherwise
            return self._value(chosen, values)
        if isinstance(expr, t.Unary):
            return self._unary(expr, values)
        if isinstance(expr, t.Binary):
            return self._binary(expr, values)
        assert isinstance(expr, t.Function)
        arguments = [self._number(arg.value, values) for arg in expr.args]
        try:
            return _FUNCTIONS[expr.name](*arguments)
        except (TypeError, ValueError):
            raise _NoValue from None

    def _unary(self, expr: t.Unary, values: Mapping[str, Any]) -> Any:
        if expr.op == "not":
            return not self._truth(expr.operand, values)
        return -self._number(expr.operand, values)

    def _binary(self, expr: t.Binary, values: Mapping[str, Any]) -> Any:
        op = expr.op
        if op in ("and", "or"):
            left = self._truth(expr.left, values)
            return left if left == (op == "or") else self._truth(expr.right, values)
        if op in ("==", "!=", "in"):
            a, b = self._value(expr.left, values), self._value(expr.right, values)
            if op == "in":
                return isinstance(b, list) and any(_same(a, item) for item in b)
            return _same(a, b) == (op == "==")
        left, right = self._number(expr.left, values), self._number(expr.right, values)
        if op in _COMPARE:
            return bool(_COMPARE[op](left, right))
        if op == "**":
            power = float(left) ** float(right)
            if isinstance(power, complex):
                raise _NoValue
            return power
        return _ARITHMETIC[op](left, right)

    def _number(self, expr: t.Expr, values: Mapping[str, Any]) -> Any:
        value = self._value(expr, values)
        if isinstance(value, bool) or not isinstance(value, int | float):
            said = self._text(expr)
            raise ConditionError(f"`{said}` is {_show(value)}, and must be a number")
        return value

    def _truth(self, expr: t.Expr, values: Mapping[str, Any]) -> bool:
        value = self._value(expr, values)
        if not isinstance(value, bool):
            said = self._text(expr)
            raise ConditionError(
                f"`{said}` is {_show(value)}, and must be true or false"
            )
        return value

    def _text(self, expr: t.Expr) -> str:
        text = expr.span.text
        for name, number in reversed(self._numbers.items()):
            text = text.replace(name, f"{number:_}")
        return text


def _show(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return "a list" if isinstance(value, list) else str(value).lower()


def _same(left: Any, right: Any) -> bool:
    """Return whether values are equal; a list is written as on an axis."""
    sides = [
        f"[{','.join(map(str, side))}]" if isinstance(side, list) else side
        for side in (left, right)
    ]
    return bool(sides[0] == sides[1])


def _names(
    expr: t.Expr, numbers: Mapping[str, int | float]
) -> tuple[list[str], list[str]]:
    """Return the names that must be known, and those that may be mere words.

    Raises:
        ConditionError: if the expression has parts that no condition has.
    """
    found: list[str] = []
    words: list[str] = []
    stack: list[t.Expr] = [expr]
    while stack:
        node = stack.pop()
        if isinstance(node, t.Name):
            found += [] if node.id in numbers else [node.id]
        elif isinstance(node, t.Binary) and node.op in ("==", "!=", "in"):
            # `unit == bottleneck`: the name of a block.
            right = node.right.items if isinstance(node.right, t.ListExpr) else None
            for side in reversed([node.right] if right is None else right):
                if isinstance(side, t.Name) and side.id not in numbers:
                    words.append(side.id)
                else:
                    stack.append(side)
            stack.append(node.left)
        else:
            stack += reversed(_parts(node))
    return found, words


def _parts(node: t.Expr) -> list[t.Expr]:
    """Return the expressions that one is made of."""
    if isinstance(node, t.Literal | t.DimsLiteral):
        return []
    if isinstance(node, t.Unary):
        return [node.operand]
    if isinstance(node, t.Binary):
        return [node.left, node.right]
    if isinstance(node, t.Conditional):
        return [node.test, node.then, node.otherwise]
    if isinstance(node, t.ListExpr):
        return node.items
    if not isinstance(node, t.Function):
        raise ConditionError(f"`{node.span.text}` has no place in a condition")
    if node.name not in _FUNCTIONS:
        hint = did_you_mean(node.name, _FUNCTIONS)
        hint = hint or f"there are {', '.join(_FUNCTIONS)}"
        raise ConditionError(f"there is no function `{node.name}`; {hint}")
    return [arg.value for arg in node.args]
