"""Malicious texts are refused quickly, in little memory, with a diagnostic."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from archdsl.diagnostics import SpecError
from archdsl.limits import MAX_FILE_BYTES
from archdsl.source import Source
from archdsl.syntax.format import format_source
from archdsl.syntax.parser import parse, parse_expression
from tests.timing import at_most, cpu_seconds

HEAD = "arch 1\nnetwork n {\n"
MANY = 10_000


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHDSL_CACHE", "off")


DEEP = {
    "signs": "conv (" + "-" * MANY + "1)",
    "sums": "conv (" + "a + " * MANY + "1)",
    "powers": "conv (" + "a ** " * MANY + "1)",
    "nots": "if " + "not " * MANY + "a { }",
    "ors": "if " + "a or " * MANY + "a { }",
    "conditions": "conv (" + "a if b else " * MANY + "1)",
    "indices": "conv (a" + "[0]" * MANY + ")",
    "ladders": "if a { } " + "else if a { } " * MANY,
    "blocks with arguments": "a" + "<a" * MANY + ">" * MANY,
    "parentheses": "conv " + "(" * MANY + ")" * MANY,
    "lists": "conv " + "[" * MANY + "]" * MANY,
    "calls": "a = " + "f(" * MANY + ")" * MANY,
    "braces": "{" * MANY + "}" * MANY,
    "labels": "a{" + "-" * MANY + "1}: conv",
    "ladders in braces": "if a { } else if b { " * 40 + "}" * 40,
}


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
def test_deep_texts_are_refused(text: str) -> None:
    with at_most(3), pytest.raises(SpecError) as caught:
        parse(Source("", f"{HEAD}{text}\n}}"))
    (error,) = caught.value.diagnostics
    assert error.code == "A0902" and "64 levels" in error.message
    assert error.span is not None and caught.value.is_limit


@pytest.mark.parametrize("depth", [10, 30])
def test_what_is_not_too_deep_parses_and_can_be_formatted(depth: int) -> None:
    text = "if a { " * depth + "b = " + "-" * 30 + "f(" * 30 + ")" * 30 + "}" * depth
    source = Source("", f"{HEAD}{text}\n}}\n")
    parse(source)
    assert format_source(Source("", format_source(source))) == format_source(source)


def test_deep_expressions_are_refused() -> None:
    text = "-" * MANY + "1"
    with pytest.raises(SpecError, match="64 levels"):
        parse_expression(Source("", text), text, 0)


WIDE = {
    "errors": "conv = = 3\n" * 50_000,
    "errors on a line": "conv = = 3; " * 50_000,
    "errors in braces": "if = {} " * 50_000,
    "equals": "= " * 200_000,
    "semicolons": ";" * 500_000,
    "unclosed": "a<b \n" * 100_000,
    "quotes": '"' * 500_001,
    "dangling labels": "a{b" * 100_000,
}


@pytest.mark.parametrize("text", WIDE.values(), ids=WIDE)
def test_many_mistakes_are_refused_soon(text: str) -> None:
    with at_most(4), pytest.raises(SpecError) as caught:
        parse(Source("", f"{HEAD}{text}\n}}"))
    assert len(caught.value.diagnostics) <= 20


LONG = {
    "digits": "conv " + "9" * 500_000,
    "a float's digits": "conv 0." + "9" * 500_000,
    "names": "a" * 500_000,
    "spaces": "conv" + " " * 500_000,
    "spaces before ends": ("conv" + " " * 1_000 + "\n") * 500,
    "carriage returns": "\r" * 500_000,
    "comments": "# a\n" * 100_000,
    "blank lines": "\n" * 500_000,
    "sizes": "conv " + "3x" * 200_000 + "3",
    "bars": "a {" + "|" * 20_000 + "}",
    "a chain": "relu -> " * 10_000 + "relu",
}


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_long_texts_end(text: str) -> None:
    with at_most(4):
        try:
            parse(Source("", f"{HEAD}{text}\n}}"))
        except SpecError as error:
            assert error.diagnostics[0].code == "A0903"


def test_too_large_texts_are_refused() -> None:
    with at_most(1), pytest.raises(SpecError, match="1,048,576 bytes"):
        parse(Source("", " " * (MAX_FILE_BYTES + 1)))


def _spec(lines: int) -> str:
    plain = "    conv{}: conv 3x3 (a * {} + 1) /2 pad=1 -> bn -> relu  x2\n"
    other = "    stage{{{} + 1}}: unit<64, a ** 2, stride = 1 if a == 0 else {}>  # c\n"
    body = [(other if n % 3 == 0 else plain).format(n, n) for n in range(lines)]
    return f"{HEAD}{''.join(body)}}}\n"


def _seconds(text: str) -> float:
    return cpu_seconds(lambda: parse(Source("", text)), runs=1)


@pytest.mark.slow
def test_time_grows_with_the_number_of_lines() -> None:
    small, large = _spec(300), _spec(3_000)
    assert len(large) < MAX_FILE_BYTES
    parse(Source("", _spec(1)))
    # The text is 10 times as long; quadratic time would be 100 times as much.
    assert _seconds(large) < 30 * _seconds(small)


def test_long_specs_are_formatted_soon() -> None:
    text = _spec(2_000)
    with at_most(15):
        assert format_source(Source("", text)) == text


# ---- as a process, with limits ---------------------------------------------------

_LOAD = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (500 << 20, 500 << 20))
resource.setrlimit(resource.RLIMIT_CPU, (2, 2))
from pathlib import Path
from archdsl.diagnostics import SpecError
from archdsl.syntax.loader import load_file
try:
    load_file(Path(sys.argv[1]))
except SpecError as error:
    print(error.diagnostics[0].code)
"""

BOMBS = {
    "a line of 100 MB": ("A0901", b"arch 1\nnetwork n { conv " + b"3" * 100_000_000),
    "10,000 brackets": ("A0902", HEAD.encode() + b"(" * MANY + b")" * MANY + b"}"),
    "unclosed brackets": ("A0902", b"{" * 1_000_000),
    "nul bytes": ("A0006", b"arch 1\n\0\0\0"),
    "only nul bytes": ("A0006", b"\0" * 1_000_000),
    "invalid utf-8": ("A0005", b"arch 1\n# \xff\xfe\n"),
    "utf-16": ("A0005", "arch 1\n".encode("utf-16")),
    "signs": ("A0902", HEAD.encode() + b"conv (" + b"-" * MANY + b"1)\n}"),
}


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits")
@pytest.mark.parametrize(("code", "data"), BOMBS.values(), ids=BOMBS)
def test_bombs(tmp_path: Path, code: str, data: bytes) -> None:
    path = tmp_path / "bomb.arch"
    path.write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", _LOAD, str(path)], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip()) == (0, code), done.stderr
