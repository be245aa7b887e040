"""Guards in a seq: one class serves calls with and without the guarded part."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import nn

import archdsl
from archdsl.backends.torch.classes import passed_on
from archdsl.backends.torch.layout import condition_text, lay_out_statements
from archdsl.backends.torch.nodes import (
    Argument,
    Assign,
    BinaryExpr,
    Invoke,
    Return,
    SelfAttribute,
    Var,
)
from archdsl.conditions import Joined, Not, Relation, Truth, substitute
from archdsl.symbolic import Poly, combine
from tests.oracle import fill

SPEC = """arch 1

block unit<expand, width, act = true, squeeze = 0, drop = 0.0> seq {{
    hidden = expand * channels
    conv 1x1 hidden if {test}
    conv 3x3 groups=hidden
    seq {{ conv 1x1 squeeze -> conv 1x1 hidden }} if squeeze > 0
    dropout drop if drop > 0
    conv 1x1 width -> bn
    relu if act
}}

network net {{
    input 4x8x8
    a: unit<{first}>
    b: unit<{second}>
}}
"""
FORMS = [
    ("expand > 1", "1, 8", "2, 8", "if expand > 1:"),
    ("hidden != channels", "1, 8", "2, 8", "if hidden != in_channels:"),
    ("not (expand == 1)", "1, 8", "2, 8", "if not (expand == 1):"),
    ("expand > 1", "2, 8, squeeze = 2", "2, 8", "if squeeze > 0:"),
    ("expand > 1", "2, 8, act = false", "2, 8", "if act:"),
    ("expand > 1 and act", "1, 8", "2, 8", "if expand > 1 and act:"),
    ("expand > 1 or (act and 1 > 2)", "1, 8", "2, 8", "if expand > 1:"),
    ("expand > 1", "2, 8, drop = 0.5", "2, 8", "if drop > 0:"),
]


def emitted(test: str, first: str, second: str) -> tuple[archdsl.Network, str]:
    network = archdsl.loads(SPEC.format(test=test, first=first, second=second))
    return network, archdsl.emit(network)


@pytest.mark.parametrize(("test", "first", "second", "line"), FORMS)
def test_one_class_serves_both(test: str, first: str, second: str, line: str) -> None:
    network, text = emitted(test, first, second)
    assert len(re.findall(r"^class ", text, re.M)) == 2
    assert line in text

    module = archdsl.build(network).eval()
    fill(module)
    x = torch.randn(2, 4, 8, 8)
    expected = x
    for argument, name in ((first, "a"), (second, "b")):
        alone = alone_with(test, argument, expected.shape[1])
        alone.load_state_dict(module.get_submodule(name).state_dict())
        expected = alone(expected)
    torch.testing.assert_close(module(x), expected)


def alone_with(test: str, argument: str, channels: int) -> nn.Module:
    """Return the unit alone in a network, so that its class has no conditions."""
    text = SPEC.format(test=test, first=argument, second="1, 8")
    text = text.replace("    b: unit<1, 8>\n", "").replace("4x8x8", f"{channels}x8x8")
    network = archdsl.loads(text)
    assert "if " not in archdsl.emit(network).split('if __name__ == "__main__"')[0]
    unit: Any = archdsl.build(network).eval().get_submodule("a")
    assert isinstance(unit, nn.Module)
    return unit


@pytest.mark.parametrize(
    ("first", "second"), [("1, 8", "1, 8"), ("2, 8", "3, 8"), ("2, 4", "2, 8")]
)
def test_no_test_where_it_never_differs(first: str, second: str) -> None:
    _, text = emitted("expand > 1", first, second)
    assert "if expand" not in text and "layers" not in text


def test_a_test_of_something_else_makes_classes_apart() -> None:
    text = """arch 1

block unit<kernel> seq {
    conv kernel 8
    relu if kernel == 3x3
}

network net {
    input 4x8x8
    a: unit<1x1>
    b: unit<3x3>
}
"""
    code = archdsl.emit(archdsl.loads(text))
    assert len(re.findall(r"^class Unit", code, re.M)) == 2


INNER = """arch 1

block unit<width> {
    conv 1x1 width
    wide: {
        conv 3x3
        residual { conv 3x3 8 }
    }
}

network net {
    input 4x8x8
    a: unit<6>
    b: unit<8>
}
"""


def test_a_part_of_a_block_tests_its_own_channels() -> None:
    """The channels of the part and of the block have the same name in the language."""
    network = archdsl.loads(INNER)
    text = archdsl.emit(network)
    assert "if in_channels != 8:" in text and "outer0_channels" not in text
    module = archdsl.build(network).eval()
    assert isinstance(module.get_submodule("a.wide.downsample"), nn.Sequential)
    assert isinstance(module.get_submodule("b.wide.downsample"), nn.Identity)


def number(name: str) -> Poly:
    return Poly.name(name)


def test_names_of_a_test_are_replaced_all_at_once() -> None:
    swapped = {"left": number("right"), "right": number("left")}
    test = Relation(number("left"), ">", Poly.constant(2) * number("right"))
    assert condition_text(substitute(test, swapped)) == "right > 2 * left"
    other = Relation(number("left2"), ">", number("left:1"))
    assert condition_text(substitute(other, swapped)) == "left2 > left:1"


def test_a_sum_in_place_of_a_name_is_bracketed_in_a_product() -> None:
    entry = {"n": number("width") + Poly.constant(1)}
    rest = combine("%", (Poly.constant(10), number("n")))
    test = Relation(rest, "==", Poly.constant(0))
    assert condition_text(substitute(test, entry)) == "10 % (width + 1) == 0"
    test = Relation(number("n"), "!=", Poly.constant(3))
    assert condition_text(substitute(test, entry)) == "width + 1 != 3"


def test_tests_are_bracketed_where_python_would_read_them_otherwise() -> None:
    a, b, c = Truth("a"), Truth("b"), Truth("c")
    assert condition_text(Joined("and", (Joined("or", (a, b)), c))) == "(a or b) and c"
    assert condition_text(Joined("or", (Joined("and", (a, b)), c))) == "(a and b) or c"
    assert condition_text(Not(Joined("or", (a, b)))) == "not (a or b)"
    assert condition_text(Joined("and", (a, Not(b)))) == "a and not b"


def calls(name: str, argument: str) -> Invoke:
    return Invoke(SelfAttribute(name), (Argument("", Var(argument)),))


def test_a_variable_that_is_read_later_keeps_its_value() -> None:
    again = Assign("x", BinaryExpr("+", (calls("b", "x"), Var("a"))))
    kept = [Assign("a", calls("a", "x")), Assign("x", Var("a")), again]
    kept_lines = ["a = self.a(x)", "x = a", "x = self.b(x) + a", "return x"]
    written = passed_on([*kept, Return(Var("x"))])
    assert lay_out_statements(written, 0) == kept_lines
    rest = [Assign("x", calls("b", "x")), Return(Var("x"))]
    given = [Assign("out", calls("a", "x")), Assign("x", Var("out")), *rest]
    assert lay_out_statements(passed_on(given), 0) == [
        "x = self.a(x)",
        "x = self.b(x)",
        "return x",
    ]
