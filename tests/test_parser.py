"""From text to syntax trees: nodes, spans and error messages."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archdsl.diagnostics import Diagnostic, SpecError
from archdsl.resources import grammar_text
from archdsl.source import Source
from archdsl.syntax import cache, parser
from archdsl.syntax import tree as t
from archdsl.syntax.parser import parse, parse_expression
from tests.texts import content, specs, with_spans

ROOT = Path(__file__).parent.parent
SPECS = sorted((ROOT / "specs").rglob("*.arch"))


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("ARCHDSL_CACHE", raising=False)
    monkeypatch.setattr(parser, "store_tree", cache.store_tree)
    return tmp_path / "archdsl" / "trees"


def file(text: str) -> t.File:
    return parse(Source("net.arch", text))


def items(text: str) -> list[t.Item]:
    return file(f"arch 1\n{text}").items[1:]


def body(text: str) -> list[t.Statement]:
    """Return the statements of a network's only branch."""
    (network,) = items(f"network n {{\n{text}\n}}")
    assert isinstance(network, t.Definition)
    (branch,) = network.body.branches
    return branch.statements


def chain(text: str) -> t.Chain:
    (statement,) = body(text)
    assert isinstance(statement, t.Chain)
    return statement


def call(text: str) -> t.Call:
    (step,) = chain(text).steps
    assert isinstance(step, t.Call)
    return step


def expression(text: str) -> Any:
    return content(parse_expression(Source("", text), text, 0))


def errors(text: str) -> list[Diagnostic]:
    with pytest.raises(SpecError) as caught:
        file(text)
    return caught.value.diagnostics


def in_body(text: str) -> list[Diagnostic]:
    return errors(f"arch 1\nnetwork n {{\n{text}\n}}\n")


# ---- the grammar ----------------------------------------------------------------


def test_grammar_has_no_conflicts(caplog: pytest.LogCaptureFixture) -> None:
    import lark

    level = lark.logger.level
    lark.logger.setLevel(logging.DEBUG)
    try:
        with caplog.at_level(logging.DEBUG):
            lark.Lark(
                grammar_text(), parser="lalr", start=["start", "expr"], debug=True
            )
    finally:
        lark.logger.setLevel(level)
    assert "conflict" not in caplog.text.lower()


@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.stem)
def test_shipped_specs_parse(path: Path) -> None:
    assert file(path.read_text(encoding="utf-8")).items


# ---- definitions ----------------------------------------------------------------


def test_block() -> None:
    block, plain, network = items(
        "block a<width, unit: block = bottleneck, k = 3x3,> seq { relu }\n"
        "block b { relu }\n"
        "network Net<classes = 1000> { input 3x32x32 }"
    )
    assert isinstance(block, t.Definition)
    assert [(p.name, p.type) for p in block.params] == [
        ("width", None),
        ("unit", "block"),
        ("k", None),
    ]
    assert [content(p.default) for p in block.params] == [
        None,
        ("Name", "bottleneck"),
        ("DimsLiteral", (3, 3)),
    ]
    assert block.indexed and not block.is_network and block.span.text == "a"
    assert isinstance(plain, t.Definition) and not plain.indexed and not plain.params
    assert isinstance(network, t.Definition) and network.is_network


@pytest.mark.parametrize(
    ("above", "doc"),
    [
        ("", ""),
        ("# one\n", "one"),
        ("# one\n#two\n#\n#  three  \n", "one\ntwo\n\n three"),
        ("# far\n\n# near\n", "near"),
        ("# far\n\n", ""),
        ("   # indented\n", "indented"),
        ("# windows\r\n", "windows"),
        ("block b { } # behind\n", ""),
        ("block b { };", ""),
    ],
)
def test_comments_above_a_definition_are_its_doc(above: str, doc: str) -> None:
    found = items(f"{above}block a {{ relu }}")[-1]
    assert isinstance(found, t.Definition) and found.doc == doc


def test_presets() -> None:
    first, second, third = items(
        "default preset a = Net<[3, 4], k = 1> expect depth == 5\n"
        "preset b = Net\n"
        "  # claims\n"
        "  expect params == 1_000, output 10\n"
        "  expect depth == 2\n"
        "preset c = Net<>"
    )
    assert isinstance(first, t.Preset) and first.is_default
    assert (first.name, first.network, first.network_span.text) == ("a", "Net", "Net")
    assert [a.name for a in first.angle] == [None, "k"]
    assert first.expect is not None and len(first.expect.items) == 1
    assert isinstance(second, t.Preset) and second.expect is not None
    assert [(e.measure, e.dims) for e in second.expect.items] == [
        (None, ()),
        ("output", (10,)),
        (None, ()),
    ]
    assert isinstance(third, t.Preset) and third.expect is None and not third.is_default


def test_imports() -> None:
    one, two = items('import a, b from "sub/x.arch"\nimport c from std')
    assert isinstance(one, t.Import) and isinstance(two, t.Import)
    assert [n for n, _ in one.names] == ["a", "b"]
    assert (one.origin, one.is_path, one.origin_span.text) == (
        "sub/x.arch",
        True,
        '"sub/x.arch"',
    )
    assert (two.origin, two.is_path) == ("std", False)


# ---- statements -----------------------------------------------------------------


def test_layers_and_their_places() -> None:
    step = call("conv 3x3 64 /2 pad=1 groups=-1 (4 * width) [1, 2] bias=false")
    assert step.word == "conv" and step.angle is None and step.body is None
    assert [(a.name, a.span.text) for a in step.args] == [
        (None, "3x3"),
        (None, "64"),
        ("/", "/2"),
        ("pad", "pad=1"),
        ("groups", "groups=-1"),
        (None, "(4 * width)"),
        (None, "[1, 2]"),
        ("bias", "bias=false"),
    ]
    assert (
        step.span.text == "conv 3x3 64 /2 pad=1 groups=-1 (4 * width) [1, 2] bias=false"
    )


def test_arguments_in_angle_brackets() -> None:
    step = call(
        "layer{i + 1}: stage<unit, 64 * 2 ** i, n, stride = 1 if i == 0 else 2>"
    )
    assert step.span.text == "stage<unit, 64 * 2 ** i, n, stride = 1 if i == 0 else 2>"
    assert step.label is not None and step.label.span.text == "layer{i + 1}"
    assert content(step.label.parts) == (
        "layer",
        ("Binary", "+", ("Name", "i"), ("Literal", 1, "1")),
    )
    assert step.angle is not None
    assert [(a.name, a.value.span.text) for a in step.angle] == [
        (None, "unit"),
        (None, "64 * 2 ** i"),
        (None, "n"),
        ("stride", "1 if i == 0 else 2"),
    ]
    assert content(step.angle[3].value) == (
        "Conditional",
        ("Literal", 1, "1"),
        ("Binary", "==", ("Name", "i"), ("Literal", 0, "0")),
        ("Literal", 2, "2"),
    )


@pytest.mark.parametrize(
    "inside", ["a == b", "a != 1 and not c", "a <= b or c", "(a < b)", "a in [1, 2]"]
)
def test_comparisons_in_angle_brackets(inside: str) -> None:
    step = call(f"unit<{inside}, 2>")
    assert step.angle is not None and len(step.angle) == 2
    assert content(step.angle[0].value) == expression(inside)


def test_spans_of_chains_cover_labels_bodies_repeats_and_guards() -> None:
    text = "a: conv 3x3 -> residual { relu | b: bn } if deep"
    assert chain(text).span.text == text
    text = "{ relu }  x(count - 1)"
    found = chain(text)
    assert found.span.text == text and found.steps[0].span.text == "{ relu }"
    repeat = found.steps[0].repeat
    assert repeat is not None and repeat.span.text == "x(count - 1)"
    repeat = call("conv 3x3 x12").repeat
    assert repeat is not None and repeat.span.text == "x12"
    assert content(repeat) == ("Literal", 12, "12")


def test_a_repeat_belongs_to_the_last_step_of_its_chain() -> None:
    first, last = chain("conv 3x3 64 -> relu  x2").steps
    assert first.repeat is None and content(last.repeat) == ("Literal", 2, "2")


@pytest.mark.parametrize(
    ("text", "branches"),
    [
        ("concat { a | b }", [1, 1]),
        ("concat { | conv 3x3 32 }", [0, 1]),
        ("concat { conv 3x3 32 | }", [1, 0]),
        ("concat {\n    a\n  | b\n    c\n}", [1, 2]),
        ("concat { a ; b | c; d ; e }", [2, 3]),
        ("concat {\n# nothing\n}", [0]),
        ("concat { }", [0]),
        ("concat { | | }", [0, 0, 0]),
    ],
)
def test_branches(text: str, branches: list[int]) -> None:
    found = call(text).body
    assert found is not None and found.span.text == text[len("concat ") :]
    assert [len(b.statements) for b in found.branches] == branches


def test_residual_with_a_shortcut() -> None:
    first, last = chain(
        "residual { conv 3x3 -> bn | downsample: seq { conv 1x1; bn } } -> relu"
    ).steps
    assert isinstance(first, t.Call) and first.body is not None
    assert first.span.text == "residual" and isinstance(last, t.Call)
    shortcut = first.body.branches[1].statements[0]
    assert isinstance(shortcut, t.Chain) and shortcut.steps[0].label is not None
    assert shortcut.steps[0].label.parts == ["downsample"]


@pytest.mark.parametrize(
    "text",
    [
        "conv 3x3\n-> bn\n-> relu",
        "conv 3x3\n    # normalise\n    -> bn  # and\n\n    -> relu",
        "conv 3x3 -> bn -> relu",
        "conv 3x3\r\n  -> bn\r\n  -> relu\r\n",
        "\n\n  conv 3x3->bn->relu # end",
    ],
)
def test_chains_go_on_with_an_arrow(text: str) -> None:
    assert content(chain(text)) == content(chain("conv 3x3 -> bn -> relu"))


def test_line_ends_do_not_count_in_brackets() -> None:
    apart = (
        "unit<\n  a, # one\n  b = (\n 1\n +\n 2\n),\n>\n-> linear (4\n* 2) [1\n, 2\n]"
    )
    assert content(chain(apart)) == content(
        chain("unit<a, b = (1 + 2)> -> linear (4 * 2) [1, 2]")
    )


@pytest.mark.parametrize(
    "end", ["\n", ";", " ; ", "  # note\n", "\n\n# note\n", "\r\n"]
)
def test_statements_are_separated(end: str) -> None:
    assert len(body(f"conv 3x3{end}relu")) == 2


def test_words_of_the_language_are_names_elsewhere() -> None:
    step = call("seq<input, block = truely> arch true_ x=1 { seq { } }")
    assert step.angle is not None and content(step.angle[0].value) == ("Name", "input")
    assert content(step.args[1].value) == ("Name", "true_")


def test_init() -> None:
    (found,) = body(
        'init conv weight=kaiming_normal(mode = "fan_out", a = -1) bias=-0.5'
    )
    assert isinstance(found, t.Init) and found.kind == "conv"
    weight, bias = found.settings
    assert weight.name == "weight" and content(weight.value) == (
        "FunctionCall",
        "kaiming_normal",
        (
            ("Arg", "mode", ("Literal", "fan_out", '"fan_out"')),
            ("Arg", "a", ("Unary", "-", ("Literal", 1, "1"))),
        ),
    )
    assert bias.span.text == "bias=-0.5"
    assert found.span.text.startswith("init conv") and found.span.text.endswith("-0.5")


def test_conditions() -> None:
    (found,) = body("if a < b { relu } else if not c { bn } else { tanh }")
    assert isinstance(found, t.If) and isinstance(found.otherwise, t.If)
    assert isinstance(found.otherwise.otherwise, t.Body)
    assert content(found.test) == ("Binary", "<", ("Name", "a"), ("Name", "b"))


def test_taps_and_outputs() -> None:
    tap, output = body("@stage.conv{i}\ntraining output @a -> aux: head<10>")
    assert isinstance(tap, t.Chain) and isinstance(tap.steps[0], t.Tap)
    assert tap.steps[0].span.text == "@stage.conv{i}"
    assert content(tap.steps[0].path.parts) == ("stage.conv", ("Name", "i"))
    assert isinstance(output, t.Output) and output.training


# ---- expressions ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("a + b * c", "a + (b * c)"),
        ("a - b - c", "(a - b) - c"),
        ("a ** b ** c", "a ** (b ** c)"),
        ("-a ** 2", "-(a ** 2)"),
        ("a // b % c", "(a // b) % c"),
        ("not a == b", "not (a == b)"),
        ("a or b and c", "a or (b and c)"),
        ("a if b else c if d else e", "a if b else (c if d else e)"),
        ("f(a)[0] + b[1][2]", "(f(a)[0]) + ((b[1])[2])"),
    ],
)
def test_precedence(text: str, same: str) -> None:
    assert expression(text) == expression(same)


def test_spans_of_expressions_cover_their_brackets() -> None:
    text = "min(a, -b) + (c - d)[not e] * [1, 2]"
    found = parse_expression(Source("", text), text, 0)
    spans: list[str] = []
    stack: list[Any] = [found]
    while stack:
        node = stack.pop(0)
        if isinstance(node, t.SyntaxNode):
            spans.append(node.span.text)  # type: ignore[attr-defined]
            stack = [*vars(node).values(), *stack]
        elif isinstance(node, list):
            stack = [*node, *stack]
    assert spans == [
        text,
        "min(a, -b)",
        *("a", "a", "-b", "-b", "b"),
        "(c - d)[not e] * [1, 2]",
        "(c - d)[not e]",
        *("(c - d)", "c", "d", "not e", "e"),
        *("[1, 2]", "1", "2"),
    ]


# ---- errors ---------------------------------------------------------------------

# The body of a network, and the error: code, line in the body, column, and parts of the
# message and the help.
MISTAKES = [
    ("conv 3x3 x 2", ("A0001", 1, 10, "`x` has a space beside it", "`x2`")),
    ("conv 3 x 3", ("A0001", 1, 6, "`x` has a space beside it", "`3x3`")),
    ("conv 3x 3", ("A0001", 1, 6, "`3x` is neither", "spaces between")),
    ("conv 3x3 64k", ("A0001", 1, 10, "`64k` is neither", "spaces between")),
    ("conv x2 -> relu", ("A0001", 1, 6, "end of a chain", "whole chain")),
    ("conv x2 x3", ("A0001", 1, 9, "`x3` is not expected", "comes once")),
    ("conv 3x3 ->\nrelu", ("A0001", 1, 10, "line ends after `->`", "next line")),
    ("relu -> ", ("A0001", 1, 6, "line ends after `->`", "next line")),
    ("-> relu", ("A0001", 1, 1, "`->` is not expected", "begins with a layer")),
    ("relu => bn", ("A0001", 1, 6, "`=>`", "write `->`")),
    ("a1 = conv 3x3", ("A0001", 1, 11, "`3x3` is not expected", "`a1: ...`")),
    ("conv pad: 1", ("A0001", 1, 9, "`:` is not expected", "`pad=...`")),
    ("f<pad: 1>", ("A0001", 1, 6, "`:` is not expected", "`pad = ...`")),
    ("input: relu", ("A0001", 1, 6, "`:` is not expected", "another label")),
    ("a:\nrelu", ("A0001", 1, 1, "label `a` has no layer", "`a: conv 3x3 64`")),
    ("relu // fast", ("A0001", 1, 6, "`//` is not expected", "begins with `#`")),
    ("/* old */", ("A0001", 1, 1, "`/*` is not expected", "begins with `#`")),
    ("conv 'a'", ("A0002", 1, 6, "`'` is not allowed", "double quotes")),
    ("conv “a”", ("A0002", 1, 6, "`“` is not allowed", "double quotes")),
    ('conv "a', ("A0002", 1, 6, '`"` is not allowed', "line where it starts")),
    ("conv 3×3", ("A0002", 1, 7, "`×`", "3x3")),
    ("conv\u00a03x3", ("A0002", 1, 5, "U+00A0", "not an ordinary space")),
    ("a<1, 2\nrelu", ("A0003", 1, 2, "`<` is never closed", "`>` ends")),
    ("a<b > c>", ("A0001", 1, 8, "`>` is not expected", "in parentheses")),
    ("a<b < c>", ("A0003", 1, 2, "`<` is never closed", "in parentheses")),
    ("a<1 2>", ("A0001", 1, 5, "`2` is not expected", "comma missing")),
    ("a<\n  1,\n  b 2,\n>", ("A0001", 3, 5, "`2` is not expected", "comma missing")),
    ("conv 4 * w", ("A0001", 1, 8, "`*` is not expected", "in parentheses")),
    ("conv 3x3, 64", ("A0001", 1, 9, "`,` is not expected", "spaces between")),
    ("conv(3, 64)", ("A0001", 1, 7, "`,` is not expected", "no parentheses")),
    ("conv pad=\nrelu", ("A0001", 1, 10, "value is missing", "this line")),
    ("if a = 1 { }", ("A0001", 1, 6, "`=` does not compare", "`==`")),
    ("if { }", ("A0001", 1, 4, "`{` is not expected", "a value")),
    ("if a { } relu", ("A0001", 1, 10, "`relu` is not expected", "own line")),
    ("elif b { }", None),
    ("if a { }\nelif b { }\nelse { }", ("A0001", 2, 1, "`elif`", "`else if`")),
    ("relu\nelse { }", ("A0001", 2, 1, "`else` is not expected", "`}` of an `if`")),
    ("for i xs { }", ("A0001", 1, 7, "`xs` is not expected", "`,` or `in`")),
    ("for a,\nb in xs { }", ("A0001", 1, 7, "line ends too early", "")),
    ("block b { }", None),
    ("block b<a> { c }", ("A0001", 1, 1, "`block` is not", "`}` missing")),
    ("block b<a = 1> -> c =", ("A0001", 1, 1, "`block` is not", "`}` missing")),
    ("@", ("A0002", 1, 1, "`@`", "`@conv1`")),
    ("a;;b", ("A0001", 1, 3, "`;`", "separates two statements")),
    ("training conv", ("A0001", 1, 10, "`conv` is not expected", "`output`")),
    ("layer{i +}: relu", ("A0001", 1, 9, "`i +` is not an expression", "")),
    ("conv 99999999999", ("A0903", 1, 6, "31 bits", "")),
    ("conv 3x99999999999", ("A0903", 1, 6, "31 bits", "")),
    ("relu x99999999999", ("A0903", 1, 6, "31 bits", "")),
    ("dropout 1e999", ("A0903", 1, 9, "too large", "")),
]


@pytest.mark.parametrize(("text", "expected"), MISTAKES, ids=[m[0] for m in MISTAKES])
def test_mistakes(text: str, expected: tuple[str, int, int, str, str] | None) -> None:
    if expected is None:  # parses as a layer; elaboration refuses it
        assert body(text)
        return
    code, line, column, message, help = expected
    (error,) = in_body(text)
    assert error.span is not None
    found = (error.code, error.span.line - 2, error.span.column)
    assert found == (code, line, column), error.render()
    assert message in error.message and help in (error.help or ""), error.render()


TOP_MISTAKES = [
    ("netwrk n { relu }", ("A0001", 1, 1, "`netwrk`", "did you mean `network`?")),
    ("arch 1\nconv 3x3", ("A0001", 2, 1, "`conv`", "`network`")),
    ("arch", ("A0001", 1, 5, "file ends too early", "a number")),
    ("arch\nblock b { }", ("A0001", 1, 5, "line ends", "a number")),
    (
        "arch 1\nblock b\n{ relu }",
        ("A0001", 2, 7, "ends before `{`", "on the same line"),
    ),
    ("arch 1\nblock { relu }", ("A0001", 2, 7, "`{` is not expected", "a name")),
    ("arch 1\npreset p: Net", ("A0001", 2, 9, "`:`", "`preset p = ...`")),
    ("arch 1\nimport a from 'b'", ("A0002", 2, 15, "`'`", "double quotes")),
    ("arch 1\nexpect a == 1", ("A0001", 2, 8, "below a preset", "")),
    ("arch 1\nblock b {\n  relu\n", ("A0003", 2, 9, "never closed", "")),
    (
        "arch 1\nblock b {\n  c {\n  relu\n}\nblock d { }\n",
        ("A0003", 3, 5, "never", ""),
    ),
    ("arch 1\nblock b {\n  relu\n  }\n}\n", ("A0004", 4, 3, "closes nothing", "")),
    ("arch 1\nblock b { (] }", ("A0004", 2, 12, "does not close the `(`", "")),
    ("arch 1\n\0", ("A0006", 2, 1, "U+0000", "UTF-8")),
    ("arch 1 # \u202e", ("A0006", 1, 10, "U+202E", "UTF-8")),
]


@pytest.mark.parametrize(("text", "expected"), TOP_MISTAKES)
def test_mistakes_of_files(text: str, expected: tuple[str, int, int, str, str]) -> None:
    (error,) = errors(text)
    code, line, column, message, help = expected
    assert error.span is not None
    found = (error.code, error.span.line, error.span.column)
    assert found == (code, line, column), error.render()
    assert message in error.message and help in (error.help or ""), error.render()


def test_independent_mistakes_are_reported_together() -> None:
    lines = [text for text, found in MISTAKES if found and "\n" not in text]
    lines = [text for text in lines if not text.startswith(("a<", "block", "->"))]
    for start in range(0, len(lines), 18):
        some = lines[start : start + 18]
        text = "arch 1\nnetwork n {\n" + "".join(f"{s}\nrelu\n" for s in some) + "}\n"
        text += "block good { relu }\nblok bad { relu }\n"
        found = errors(text)
        assert [e.span.line for e in found if e.span] == [
            *range(3, 3 + 2 * len(some), 2),
            5 + 2 * len(some),
        ]


def test_mistakes_inside_a_bad_header_are_found() -> None:
    found = errors(
        "arch 1\nblock a<b c> {\n  if d = 1 {\n    conv =\n  }\n  relu 'x'\n}\n"
    )
    assert [(e.code, e.span.line) for e in found if e.span] == [
        ("A0001", 2),
        ("A0001", 3),
        ("A0001", 4),
        ("A0002", 6),
    ]


@pytest.mark.parametrize(
    "text", ["{}(}", "arch 1\nnetwork n { input 3x8x8 } relu (4) = [1]\n}\n"]
)
def test_a_body_that_has_ended_is_not_closed_again(text: str) -> None:
    assert errors(text)


def test_at_most_twenty_errors() -> None:
    assert (
        len(in_body("conv )\n" * 0 + "conv = = 3\n" * 500)) == parser.MAX_SYNTAX_ERRORS
    )


def test_claims_may_count_more_than_31_bits() -> None:
    (found,) = body("expect macs == 19_646_297_088")
    assert isinstance(found, t.Expect)
    assert found.items[0].test is not None
    assert content(found.items[0].test)[3] == ("Literal", 19646297088, "19_646_297_088")
    assert [e.code for e in in_body("expect macs == 1_000_000_000_000_000_000")] == [
        "A0903"
    ]
    assert [e.code for e in in_body("expect a == 1\nconv 19_646_297_088")] == ["A0903"]


def test_a_claim_below_a_bad_preset_is_not_blamed() -> None:
    (error,) = errors("arch 1\npreset a = 3\n    expect depth == 1\n")
    assert error.span is not None and error.span.line == 2


# ---- never a traceback ----------------------------------------------------------

_PUNCTUATION = [*"{}()[]<>|,;:=/-+*'\"#@\n\t\\é ", "->", "x2", "x("]
_WORDS = [
    "if",
    "else",
    "for",
    "in",
    "not",
    "block",
    "network",
    "preset",
    "expect",
    "input",
    "output",
    "init",
    "seq",
    "fn",
    "op",
]
_OTHERS = ["arch 1\n", "conv ", "3x3", "64", "a{i}"]
_PIECES = st.sampled_from(_PUNCTUATION + [f"{w} " for w in _WORDS] + _OTHERS)


@st.composite
def _damaged(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(SPECS)).read_text(encoding="utf-8")
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 8)))
        text = (
            text[:start] + draw(st.lists(_PIECES, max_size=3).map("".join)) + text[end:]
        )
    return text


# Little but brackets, so that many close what an error has left out.
_BRACKETS = st.lists(st.sampled_from([*"{{{}}}()[]<>|\n", "a ", "x2"]), max_size=12)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    _damaged() | st.lists(_PIECES, max_size=60).map("".join) | _BRACKETS.map("".join)
)
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        file(text)
    except SpecError as error:
        assert 0 < len(error.diagnostics) <= parser.MAX_SYNTAX_ERRORS
        for diagnostic in error.diagnostics:
            assert re.fullmatch(r"A0\d\d\d", diagnostic.code)
            assert diagnostic.span is not None
            assert 0 <= diagnostic.span.start < diagnostic.span.end <= len(text) + 1
            assert diagnostic.render()


# ---- cached trees ---------------------------------------------------------------


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(specs())
def test_stored_trees_are_the_same(text: str) -> None:
    assert with_spans(file(text)) == with_spans(file(text))


@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.stem)
def test_shipped_specs_are_stored(path: Path) -> None:
    source = Source(str(path), path.read_text(encoding="utf-8"))
    assert cache.load_tree(source) is None
    parsed = parse(source)
    stored = cache.load_tree(source)
    assert stored is not None and stored.source is source
    assert with_spans(stored) == with_spans(parsed)


TEXT = "arch 1\nblock a { conv 3x3 (1 + b) -> relu }\n"


def _entry(folder: Path) -> Path:
    """Parse, and return the tree's entry (the other holds the parser's tables)."""
    file(TEXT)
    (path,) = [p for p in folder.iterdir() if b"block a {" in p.read_bytes()]
    return path


def test_entries_are_private(cache_folder: Path) -> None:
    entry = _entry(cache_folder)
    assert cache_folder.stat().st_mode & 0o777 == 0o700
    assert entry.stat().st_mode & 0o777 == 0o600
    assert not [p for p in cache_folder.iterdir() if p.suffix != ".tree"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: data.replace(b"relu", b"bulu"),
        lambda data: b"\x80\x04cos\nsystem\n.",
        lambda data: b"\xff" * 1000,
        lambda data: data.replace(b"archdsl tree 1", b"archdsl tree 0"),
    ],
)
def test_damaged_entries_are_written_anew(cache_folder: Path, damage: Any) -> None:
    entry = _entry(cache_folder)
    good = entry.read_bytes()
    entry.write_bytes(damage(good))
    assert cache.load_tree(Source("", TEXT)) is None
    file(TEXT)
    assert entry.read_bytes() == good


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b"null",
        b'["", "", []]',
        b"[[[[",
        b"[" * 100_000,
        b"\x80\x04cos\nsystem\n(S'true'\ntR.",
    ],
)
def test_planted_entries_are_ignored(cache_folder: Path, content: bytes) -> None:
    from zlib import crc32

    entry = _entry(cache_folder)
    entry.write_bytes(b"archdsl tree 1 %08x\n%s" % (crc32(content), content))
    assert cache.load_tree(Source("", TEXT)) is None


def test_planted_trees_hold_nothing_but_nodes(cache_folder: Path) -> None:
    from zlib import crc32

    entry = _entry(cache_folder)
    payload = entry.read_bytes().split(b"\n", 1)[1]
    for number in (-5, -99, 999):
        bad = payload.replace(b"[-2,", b"[%d," % number, 1)
        entry.write_bytes(b"archdsl tree 1 %08x\n%s" % (crc32(bad), bad))
        found = cache.load_tree(Source("", TEXT))
        assert found is None or isinstance(found.items, list)


def test_entries_of_others_are_ignored(
    cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _entry(cache_folder)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert cache.load_tree(Source("", TEXT)) is None


def test_links_are_not_followed(cache_folder: Path, tmp_path: Path) -> None:
    entry = _entry(cache_folder)
    entry.rename(tmp_path / "elsewhere")
    entry.symlink_to(tmp_path / "elsewhere")
    assert cache.load_tree(Source("", TEXT)) is None


def test_another_grammar_or_python_has_other_entries(
    cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _entry(cache_folder)
    assert cache.load_tree(Source("", TEXT)) is not None
    monkeypatch.setattr(cache, "_MAKER", [])
    monkeypatch.setattr(cache, "grammar_text", lambda: "start: A")
    assert cache.load_tree(Source("", TEXT)) is None
    monkeypatch.setattr(cache, "_MAKER", [])
    monkeypatch.setattr(cache, "grammar_text", grammar_text)
    assert cache.load_tree(Source("", TEXT)) is not None
    monkeypatch.setattr(cache, "_MAKER", [])
    monkeypatch.setattr(sys, "version", "4.0")
    assert cache.load_tree(Source("", TEXT)) is None
    monkeypatch.setattr(cache, "_MAKER", [])


def test_the_cache_can_be_off(
    cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHDSL_CACHE", "off")
    file(TEXT)
    assert not cache_folder.exists()


def test_a_folder_that_cannot_be_written_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert content(file(TEXT)) == content(file(TEXT))
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    monkeypatch.setenv("HOME", "also/relative")
    assert file(TEXT).items
    assert not Path("not").exists() and not Path("also").exists()


def test_the_oldest_entries_go(
    cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "MAX_ENTRIES", 5)
    for number in range(12):
        file(f"arch 1\n# {number}\n")
        time.sleep(0.002)
    assert len(list(cache_folder.iterdir())) == 5
    assert cache.load_tree(Source("", "arch 1\n# 11\n")) is not None
    assert cache.load_tree(Source("", "arch 1\n# 2\n")) is None
    monkeypatch.setattr(cache, "MAX_BYTES", 0)
    file("arch 1\n# last\n")
    assert not list(cache_folder.iterdir())


def test_deep_trees_are_stored_or_not(cache_folder: Path) -> None:
    deep = "arch 1\nblock a {" + "{" * 60 + "relu" + "}" * 60 + "}\n"
    assert with_spans(file(deep)) == with_spans(file(deep))


def test_a_stored_tree_needs_no_parser(cache_folder: Path) -> None:
    code = (
        "import sys; from archdsl.source import Source;"
        "from archdsl.syntax.parser import parse;"
        "parse(Source('', open(sys.argv[1]).read()));"
        "print('lark' in sys.modules, 'archdsl.syntax.checks' in sys.modules)"
    )
    spec = str(ROOT / "specs" / "googlenet.arch")
    for expected in ("True True", "False False"):
        done = subprocess.run(
            [sys.executable, "-c", code, spec],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split("\n")[0] == expected


def test_stored_tables_give_the_same_parser(
    cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from archdsl.syntax import tables
    from archdsl.syntax.build import TreeBuilder
    from archdsl.syntax.lines import LineFilter

    tables.make_lark(TreeBuilder(), LineFilter())

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("the tables were worked out again")

    monkeypatch.setattr(tables.lark.Lark, "__init__", refuse)
    made = tables.make_lark(TreeBuilder(), LineFilter())
    assert made.options.start == ["start", "expr", "arg_value"]
    fresh = file(TEXT)
    monkeypatch.setattr(parser, "_CACHE", [])
    monkeypatch.setenv("ARCHDSL_CACHE", "on")
    assert with_spans(file(TEXT)) == with_spans(fresh)
