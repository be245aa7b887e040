"""The axes of a sweep: names, each with the values that it takes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NamedTuple

from archdsl.diagnostics import SpecError
from archdsl.elaborate.types import show_value
from archdsl.source import Source
from archdsl.syntax import tree as t
from archdsl.syntax.parser import check_characters, check_nesting, parse_expression
from archdsl.values import Dims

# Axes that do not set a parameter of the network.
INPUT: Final = "input"
PRESET: Final = "preset"

MAX_VALUES: Final = 1_000_000
MAX_POINTS: Final = 2_000_000

_NUMBER = r"[+-]?\d[\d_]*(?:\.\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(?::({_NUMBER}))?")
_SHAPE = re.compile(r"\d{1,10}(x\d{1,10})*")
_OPENING, _CLOSING = "[(<", "])>"


class AxisError(ValueError):
    """An axis that is not valid; the message says why."""


class TooMany(ValueError):
    """A sweep with too many points for one run."""


class Axis(NamedTuple):
    """A parameter, input or preset that varies.

    Attributes:
        name: name of a parameter of the network, or ``input`` or ``preset``.
        values: in order, as `api.load` accepts them.
        shown: the values as plain data: numbers, truth values and strings.
    """

    name: str
    values: tuple[Any, ...]
    shown: tuple[Any, ...]


def parse_axis(text: str) -> Axis:
    """Return the axis of ``width=32..128:16`` or ``layers=[2,2,2,2],[3,4,6,3]``.

    Raises:
        AxisError: if the text is not an axis.
    """
    name, equals, written = text.partition("=")
    if not equals or not name.isidentifier():
        raise AxisError(f"`{text}` is not of the form name=values")
    values = [value for item in _items(written) for value in _values(name, item)]
    return _axis(name, values)


def make_axis(name: str, values: str | Iterable[object]) -> Axis:
    """Return an axis of Python values, or of text as on the command line.

    Raises:
        AxisError: if there are no values, or one is invalid.
    """
    if isinstance(values, str):
        return parse_axis(f"{name}={values}")
    return _axis(name, [(value, _plain(value)) for value in values])


def _axis(name: str, values: list[tuple[Any, Any]]) -> Axis:
    if not values:
        raise AxisError(f"`{name}` has no values")
    if len(values) > MAX_VALUES:
        raise TooMany(f"`{name}` has more than {MAX_VALUES:,} values")
    known: dict[Any, tuple[Any, Any]] = {}
    for value, shown in values:
        known.setdefault((type(shown), shown), (value, shown))
    kept = known.values()
    return Axis(name, tuple(v for v, _ in kept), tuple(shown for _, shown in kept))


def count_points(axes: Iterable[Axis]) -> int:
    """Return the number of points of some axes."""
    product = 1
    for axis in axes:
        product *= len(axis.values)
    return product


def indices(axes: tuple[Axis, ...], point: int) -> tuple[int, ...]:
    """Return a point's index along each axis; the last axis varies fastest."""
    found = []
    for axis in reversed(axes):
        point, at = divmod(point, len(axis.values))
        found.append(at)
    return tuple(reversed(found))


def shown_point(axes: tuple[Axis, ...], point: int) -> dict[str, Any]:
    """Return the values of a point as plain data, by the axes' names."""
    at = zip(axes, indices(axes, point), strict=True)
    return {axis.name: axis.shown[place] for axis, place in at}


def settings(axes: tuple[Axis, ...], point: int) -> dict[str, Any]:
    """Return the values of a point as `api.load` accepts them, by the axes' names."""
    at = zip(axes, indices(axes, point), strict=True)
    return {axis.name: axis.values[place] for axis, place in at}


# ---- parsing --------------------------------------------------------


def _items(text: str) -> Iterator[str]:
    """Yield the items between commas, outside of brackets and quotes."""
    depth, start, quoted = 0, 0, False
    for at, char in enumerate(text):
        if char == '"':
            quoted = not quoted
        elif not quoted and char in _OPENING:
            depth += 1
        elif not quoted and char in _CLOSING:
            depth -= 1
        elif char == "," and not depth and not quoted:
            yield text[start:at].strip()
            start = at + 1
    yield text[start:].strip()


def _values(name: str, item: str) -> Iterator[tuple[Any, Any]]:
    if found := _RANGE.fullmatch(item):
        yield from ((n, n) for n in _range(name, item, *found.groups()))
    elif name == INPUT and _SHAPE.fullmatch(item):
        yield item, item
    else:
        yield _value(name, item)


def _range(
    name: str, item: str, first: str, last: str, step: str | None
) -> Iterator[int | float]:
    try:
        start, end = Decimal(first), Decimal(last)
        by = Decimal(step) if step else Decimal(1 if start <= end else -1)
    except InvalidOperation:
        raise AxisError(f"{name}: `{item}` is not a range of numbers") from None
    whole = "." not in item.replace("..", "")
    if not whole and step is None:
        raise AxisError(f"{name}: add a step: `{item}:0.1`")
    if by == 0 or (end - start) * by < 0:
        raise AxisError(f"{name}: steps of {by} do not lead from {first} to {last}")
    number = int((end - start) / by) + 1
    if number > MAX_VALUES:
        raise TooMany(f"{name}: `{item}` has more than {MAX_VALUES:,} values")
    if whole:
        yield from range(int(start), int(start) + number * int(by), int(by))
    else:
        yield from (float(start + at * by) for at in range(number))


def _value(name: str, item: str) -> tuple[Any, Any]:
    """Return a value as `-D` accepts it, and as plain data."""
    if not item:
        raise AxisError(f"`{name}` has an empty value")
    source = Source(name, item)
    try:
        check_characters(source)
        check_nesting(source)
        expr = parse_expression(source, item, 0, argument=True)
    except SpecError as error:
        raise AxisError(f"{name}: {error.diagnostics[0].message}") from None
    if isinstance(expr, t.Literal) and isinstance(expr.value, str):
        return expr, expr.value  # as text, it might be read as a number
    value = _constant(expr)
    return value, _plain(value, item)


def _constant(expr: t.Expr) -> Any:
    """Return the value of a literal, or else the expression itself."""
    if isinstance(expr, t.Name):
        return expr.id  # a block, a layer kind or a string
    if isinstance(expr, t.Literal):
        return expr.value
    if isinstance(expr, t.Unary) and expr.op == "-":
        operand = _constant(expr.operand)
        number = isinstance(operand, int | float) and not isinstance(operand, bool)
        return -operand if number else expr
    return expr


def _plain(value: Any, written: str = "") -> Any:
    """Return a value as plain data."""
    if isinstance(value, bool | int | float | str):
        return value
    if written:
        return re.sub(r"\s*,\s*", ",", written)
    if isinstance(value, Dims):
        return repr(value)
    if isinstance(value, list | tuple):
        return show_value(_as_tuple(value)).replace(", ", ",")
    raise AxisError(f"{value!r} is not a value of a parameter")


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list | tuple) else value


def refuse_same_names(axes: Iterable[Axis], fixed: Mapping[str, object]) -> None:
    """Refuse axes that set the same thing twice.

    Raises:
        AxisError: if two have the same name, or one is also fixed elsewhere.
    """
    seen: set[str] = set()
    for axis in axes:
        if axis.name in seen:
            raise AxisError(f"`{axis.name}` is given twice")
        if axis.name in fixed:
            raise AxisError(f"`{axis.name}` cannot both vary and be fixed")
        seen.add(axis.name)
