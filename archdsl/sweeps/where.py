"""Conditions on a point's figures, in the language's own expressions."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from archdsl.diagnostics import SpecError, did_you_mean
from archdsl.elaborate.evaluate import FUNCTIONS
from archdsl.elaborate.types import counted
from archdsl.source import Source, Span
from archdsl.syntax import tree as t
from archdsl.syntax.parser import check_characters, check_nesting, parse_expression
from archdsl.values import show_shape

_SUFFIXES: Final = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
# A number that is not part of a name, a size such as 3x3, or another number.
_NUMBER = re.compile(r'"[^"]*"|(?<![\w.])(\d[\d_]*(?:\.\d+)?)([kKMGT]?)(?![\w.])')
_HIDDEN: Final = "number_of_the_condition_"
# More digits than any figure has, and fewer than Python's limit for reading integers.
_MAX_DIGITS: Final = 100
# Far above any figure; larger numbers would only cost time.
_MAX_NUMBER: Final = 10**300

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
# Functions of the language that return a number.
_FUNCTIONS: Final = {
    name: entry for name, entry in FUNCTIONS.items() if name not in ("range", "unique")
}
_OF_LISTS: Final = frozenset({"count", "len", "sum"})
_EXTREMES: Final = frozenset({"max", "min"})
# Kinds of values, as messages call them.
_TRUTH: Final = "true or false"
_COUNT: Final = "a number"
_LIST: Final = "a list"
_TEXT: Final = "a text"


class ConditionError(ValueError):
    """A condition that is not valid; the message says why, and where."""


class _NoValue(Exception):
    """A figure that a network does not have, or an undefined number."""


class Condition:
    """A condition on points, such as ``params < 5M and macs < 600M``.

    Attributes:
        text: as written.
        names: the figures and axes that it uses.
        words: other names, which can be figures or axes, or strings.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._numbers: dict[str, int | float] = {}
        # For positions in the parsed text: how much longer the original text before
        # them is.
        self._shifts: list[tuple[int, int]] = []
        self._expr = self._parse(text)
        names, words = self._names()
        self.names = tuple(dict.fromkeys(names))
        self.words = tuple(dict.fromkeys(words))

    def _parse(self, text: str) -> t.Expr:
        hidden = _NUMBER.sub(self._hide, text)
        source = Source("--where", hidden)
        try:
            check_characters(source)
            check_nesting(source)
            return parse_expression(source, hidden, 0)
        except SpecError as error:
            span = error.diagnostics[0].span
            raise self._error("is not a condition", None, span) from None

    def _hide(self, found: re.Match[str]) -> str:
        """Replace a number by a name, since numbers in specs have a limit."""
        if found[1] is None:
            return found[0]
        digits = found[1].replace("_", "")
        if len(digits) > _MAX_DIGITS:
            raise ConditionError(
                f"a number of {len(digits):,} digits is longer than any figure, at "
                f"column {found.start() + 1}"
            )
        factor = _SUFFIXES[found[2]]
        number = float(digits) * factor if "." in digits else int(digits) * factor
        name = f"{_HIDDEN}{len(self._numbers)}"
        self._numbers[name] = int(number) if number == int(number) else number
        before = sum(by for _, by in self._shifts)
        end = found.start() - before + len(name)
        self._shifts.append((end, len(found[0]) - len(name)))
        return name

    def _written(self, place: int) -> int:
        """Convert a position in the parsed text to one in the original text."""
        return place + sum(by for end, by in self._shifts if end <= place)

    def _error(
        self, what: str, expr: t.Expr | None, span: Span | None = None
    ) -> ConditionError:
        """Return the error for a part of the condition, or for all of it."""
        span = expr.span if expr is not None else span
        start = 0 if span is None else min(self._written(span.start), len(self.text))
        text = self.text.strip()
        if expr is not None and span is not None:
            text = self.text[start : self._written(span.end)]
        shown = text if len(text) < 100 else f"{text[:96]} ..."
        return ConditionError(f"`{shown}` {what}, at column {start + 1}")

    def check(self, known: Collection[str]) -> None:
        """Refuse names that are neither figures nor axes.

        Raises:
            ConditionError: naming the first.
        """
        for name in self.names:
            if name not in known:
                hint = did_you_mean(name, known) or f"there are {', '.join(known)}"
                raise ConditionError(
                    f"`{name}` is neither a figure nor an axis; {hint}"
                )

    def check_kinds(self, values: Mapping[str, Collection[Any]]) -> None:
        """Refuse a condition that fails for every point because of its types.

        Args:
            values: example values of each figure and axis, by name.

        Raises:
            ConditionError: if a part can never have the required type.
        """
        known = {name: frozenset(map(_kind, found)) for name, found in values.items()}
        known |= {name: frozenset([_COUNT]) for name in self._numbers}
        self._demand(_TRUTH, self._expr, known)

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Return whether a point satisfies the condition; False if a figure is missing.

        Raises:
            ConditionError: if the condition cannot be computed for such values.
        """
        try:
            found = self._value(self._expr, {**values, **self._numbers})
        except (_NoValue, ZeroDivisionError, OverflowError):
            return False
        if not isinstance(found, bool):
            raise self._error("is not true or false", None)
        return found

    # ---- values

    def _value(self, expr: t.Expr, values: Mapping[str, Any]) -> Any:
        if isinstance(expr, t.Literal):
            return expr.value
        if isinstance(expr, t.DimsLiteral):
            return show_shape(expr.dims)
        if isinstance(expr, t.Name):
            # Any other word is a string, as on an axis: `unit == bottleneck`.
            found = values.get(expr.id, expr.id)
            if found is None:
                raise _NoValue
            return found
        if isinstance(expr, t.ListExpr):
            return tuple(self._value(item, values) for item in expr.items)
        if isinstance(expr, t.Conditional):
            chosen = expr.then if self._truth(expr.test, values) else expr.otherwise
            return self._value(chosen, values)
        if isinstance(expr, t.Unary):
            return self._unary(expr, values)
        if isinstance(expr, t.Binary):
            return self._binary(expr, values)
        assert isinstance(expr, t.FunctionCall)
        return self._call(expr, values)

    def _call(self, expr: t.FunctionCall, values: Mapping[str, Any]) -> Any:
        arguments = [_as_list(self._value(arg.value, values)) for arg in expr.args]
        try:
            return _FUNCTIONS[expr.name][0](*arguments)
        except ValueError:
            raise _NoValue from None
        except TypeError:
            shown = ", ".join(map(_show, arguments))
            raise self._error(f"is {expr.name} of {shown}", expr) from None

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
                b = _as_list(b)
                if not isinstance(b, tuple):
                    raise self._error(f"is {_show(b)}, and must be {_LIST}", expr.right)
                return any(_same(a, item) for item in b)
            return _same(a, b) == (op == "==")
        left, right = self._number(expr.left, values), self._number(expr.right, values)
        if op in _COMPARE:
            return bool(_COMPARE[op](left, right))
        if op == "**":
            power = float(left) ** float(right)
            if isinstance(power, complex):
                raise _NoValue
            return power
        found = _ARITHMETIC[op](left, right)
        if not abs(found) < _MAX_NUMBER:
            raise _NoValue
        return found

    def _number(self, expr: t.Expr, values: Mapping[str, Any]) -> Any:
        value = self._value(expr, values)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._error(f"is {_show(value)}, and must be {_COUNT}", expr)
        return value

    def _truth(self, expr: t.Expr, values: Mapping[str, Any]) -> bool:
        value = self._value(expr, values)
        if not isinstance(value, bool):
            raise self._error(f"is {_show(value)}, and must be {_TRUTH}", expr)
        return value

    # ---- kinds of values

    def _demand(
        self, kind: str, expr: t.Expr, known: Mapping[str, frozenset[str]]
    ) -> None:
        """Refuse a part that never has a given type."""
        found = self._kinds(expr, known)
        if found and kind not in found:
            is_ = " or ".join(sorted(found))
            raise self._error(f"is {is_}, and must be {kind}", expr)

    def _kinds(
        self, expr: t.Expr, known: Mapping[str, frozenset[str]]
    ) -> frozenset[str]:
        """Return the types that a part can have; empty if all."""
        if isinstance(expr, t.Literal):
            return frozenset([_kind(expr.value)])
        if isinstance(expr, t.DimsLiteral):
            return frozenset([_TEXT])
        if isinstance(expr, t.Name):
            return known.get(expr.id, frozenset())
        if isinstance(expr, t.ListExpr):
            for item in expr.items:
                self._kinds(item, known)
            return frozenset([_LIST])
        if isinstance(expr, t.Conditional):
            self._demand(_TRUTH, expr.test, known)
            sides = [self._kinds(side, known) for side in (expr.then, expr.otherwise)]
            return sides[0] | sides[1] if all(sides) else frozenset()
        if isinstance(expr, t.FunctionCall):
            self._demand_arguments(expr, known)
            return frozenset([_COUNT])
        assert isinstance(expr, t.Unary | t.Binary)
        return self._kinds_of_operator(expr, known)

    def _demand_arguments(
        self, expr: t.FunctionCall, known: Mapping[str, frozenset[str]]
    ) -> None:
        """Refuse arguments that a function does not accept."""
        first, *others = [arg.value for arg in expr.args]
        of_list = expr.name in _OF_LISTS or (expr.name in _EXTREMES and not others)
        self._demand(_LIST if of_list else _COUNT, first, known)
        for other in others:
            if expr.name in _OF_LISTS:
                self._kinds(other, known)
            else:
                self._demand(_COUNT, other, known)

    def _kinds_of_operator(
        self, expr: t.Unary | t.Binary, known: Mapping[str, frozenset[str]]
    ) -> frozenset[str]:
        compares = expr.op in ("==", "!=", "in")
        logical = expr.op in ("and", "or", "not")
        for part in _parts(expr):
            if compares:
                self._kinds(part, known)
            else:
                self._demand(_TRUTH if logical else _COUNT, part, known)
        if isinstance(expr, t.Binary) and expr.op == "in":
            self._demand(_LIST, expr.right, known)
        truth = compares or logical or expr.op in _COMPARE
        return frozenset([_TRUTH if truth else _COUNT])

    # ---- names

    def _names(self) -> tuple[list[str], list[str]]:
        """Return the names that must be known, and those that can be strings.

        Raises:
            ConditionError: if the expression has parts that a condition cannot have.
        """
        found: list[str] = []
        words: list[str] = []
        stack: list[t.Expr] = [self._expr]
        while stack:
            node = stack.pop()
            if isinstance(node, t.Name):
                found += [] if node.id in self._numbers else [node.id]
            elif isinstance(node, t.Binary) and node.op in ("==", "!=", "in"):
                # `unit == bottleneck`: the name of a block.
                right = node.right.items if isinstance(node.right, t.ListExpr) else None
                for side in reversed([node.right] if right is None else right):
                    if isinstance(side, t.Name) and side.id not in self._numbers:
                        words.append(side.id)
                    else:
                        stack.append(side)
                stack.append(node.left)
            else:
                self._check_part(node)
                stack += reversed(_parts(node))
        return found, words

    def _check_part(self, node: t.Expr) -> None:
        if isinstance(node, t.Index | t.Partial | t.Comprehension):
            raise self._error("is not allowed in a condition", node)
        if not isinstance(node, t.FunctionCall):
            return
        if node.name not in _FUNCTIONS:
            hint = did_you_mean(node.name, _FUNCTIONS)
            hint = hint or f"there are {', '.join(_FUNCTIONS)}"
            raise ConditionError(f"there is no function `{node.name}`; {hint}")
        _, least, most, _ = _FUNCTIONS[node.name]
        if any(arg.name for arg in node.args) or not least <= len(node.args) <= most:
            takes = counted(most, "argument")
            takes = takes if least == most else f"{least} to {takes}"
            raise self._error(f"needs {takes}", node)


def _as_list(value: Any) -> Any:
    """Return the items of a list, which an axis stores as text."""
    if not isinstance(value, str) or not value.startswith("["):
        return value
    try:
        expr = parse_expression(Source("--where", value), value, 0)
    except SpecError:  # a string that looks like a list
        return value
    return _constant(expr)


def _constant(expr: t.Expr) -> Any:
    if isinstance(expr, t.ListExpr):
        return tuple(map(_constant, expr.items))
    if isinstance(expr, t.Literal):
        return expr.value
    if isinstance(expr, t.Unary) and isinstance(expr.operand, t.Literal):
        value = expr.operand.value
        return -value if isinstance(value, int | float) else expr.span.text
    return expr.span.text


def _kind(value: Any) -> str:
    """Return the name of a value's type in messages."""
    if isinstance(value, bool):
        return _TRUTH
    if isinstance(value, int | float):
        return _COUNT
    return _LIST if isinstance(_as_list(value), tuple) else _TEXT


def _show(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return _LIST if isinstance(value, tuple) else str(value).lower()


def _same(left: Any, right: Any) -> bool:
    """Return whether values are equal; lists are compared as written on an axis."""
    return bool(_written(left) == _written(right))


def _written(value: Any) -> Any:
    if not isinstance(value, tuple):
        return value
    items = (str(i).lower() if isinstance(i, bool) else _written(i) for i in value)
    return f"[{','.join(map(str, items))}]"


def _parts(node: t.Expr) -> list[t.Expr]:
    """Return the direct parts of an expression."""
    if isinstance(node, t.Unary):
        return [node.operand]
    if isinstance(node, t.Binary):
        return [node.left, node.right]
    if isinstance(node, t.Conditional):
        return [node.test, node.then, node.otherwise]
    if isinstance(node, t.ListExpr):
        return node.items
    return [arg.value for arg in node.args] if isinstance(node, t.FunctionCall) else []
