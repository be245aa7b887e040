"""Numbers that carry expressions compute like plain numbers."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archdsl.symbolic import Poly, Sym, poly_of

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
    "/": operator.truediv,
}
NAMES = {"a": 7, "b": 3, "c": 64}


def _named(name: str) -> Sym:
    return Sym(NAMES[name], Poly.name(name))


@st.composite
def _values(draw: st.DrawFn, depth: int = 3) -> tuple[Any, Any]:
    """Return a number with an expression, and the same plain number."""
    if depth == 0 or draw(st.booleans()):
        name = draw(st.sampled_from([*NAMES, ""]))
        if name:
            return _named(name), NAMES[name]
        number = draw(st.integers(-5, 9))
        return number, number
    op = OPERATORS[draw(st.sampled_from(["+", "-", "*", "//", "%"]))]
    left, right = draw(_values(depth - 1)), draw(_values(depth - 1))
    try:
        return op(left[0], right[0]), op(left[1], right[1])
    except ZeroDivisionError:
        return left


@given(_values())
def test_the_value_and_its_text_agree_with_plain_arithmetic(pair: Any) -> None:
    symbolic, plain = pair
    assert int(symbolic) == plain
    text = poly_of(symbolic).text()
    assert eval(text, {"max": max, "min": min}, dict(NAMES)) == plain
    # In brackets if an operator of higher precedence may be around it.
    assert eval(f"{poly_of(symbolic).text(2)} // 2", {}, dict(NAMES)) == plain // 2
    assert eval(f"2 * {poly_of(symbolic).text(3)}", {}, dict(NAMES)) == 2 * plain
    assert eval(f"-{poly_of(symbolic).text(3)}", {}, dict(NAMES)) == -plain


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("-(a // b)", "-(a // b)"),
        ("-(c % a)", "-(c % a)"),
        ("-(a // b) * c", "-(a // b * c)"),
        ("-(a // b) - b", "-(a // b) - b"),
        ("b - a // b", "b - a // b"),
        ("-2 * (a // b)", "-2 * (a // b)"),
        ("-a * (c // b)", "-a * (c // b)"),
    ],
)
def test_a_leading_minus_does_not_reach_into_a_quotient(
    expression: str, text: str
) -> None:
    number = eval(expression, {}, {name: _named(name) for name in NAMES})
    assert poly_of(number).text() == text
    assert eval(text, {}, dict(NAMES)) == number == eval(expression, {}, dict(NAMES))


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("a * b // b", "a"),
        ("(2 * a * b + 4 * b) // (2 * b)", "a + 2"),
        ("a * a // a", "a"),
        ("a * b // (2 * b)", "a * b // (2 * b)"),
        ("(a * b + c) // b", "(a * b + c) // b"),
    ],
)
def test_a_quotient_without_rest_is_none(expression: str, text: str) -> None:
    number = eval(expression, {}, {name: _named(name) for name in NAMES})
    assert poly_of(number).text() == text
    assert int(number) == eval(expression, {}, dict(NAMES))


@given(_values(), _values())
def test_equal_expressions_have_equal_values(one: Any, other: Any) -> None:
    if poly_of(one[0]) == poly_of(other[0]):
        assert one[1] == other[1]
        assert hash(poly_of(one[0])) == hash(poly_of(other[0]))


@pytest.mark.parametrize("op", OPERATORS)
@given(st.floats(0.5, 9.0))
def test_floats_are_not_cut_to_integers(op: str, number: float) -> None:
    apply, name = OPERATORS[op], "a"
    assert apply(_named(name), number) == apply(NAMES[name], number)
    assert apply(number, _named(name)) == apply(number, NAMES[name])


def test_names_can_be_replaced() -> None:
    poly = poly_of(4 * _named("a") + _named("b") // 2)
    moved = poly.substitute({"a": Poly.name("width"), "b": Poly.constant(10)})
    assert moved.text() == "4 * width + 5"
