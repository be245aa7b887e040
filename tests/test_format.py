"""The canonical layout."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from archdsl.diagnostics import SpecError
from archdsl.source import Source
from archdsl.syntax.format import WIDTH, format_source
from archdsl.syntax.parser import parse
from tests.texts import content, specs

ROOT = Path(__file__).parent.parent
SPECS = sorted((ROOT / "specs").rglob("*.arch"))


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ARCHDSL_CACHE", "off")
    yield


def formatted(text: str) -> str:
    """Format a text, and check the properties that hold for every text."""
    result = format_source(Source("", text))
    assert content(parse(Source("", result))) == content(parse(Source("", text)))
    assert format_source(Source("", result)) == result
    assert comments(result) == comments(text)
    assert not re.search(r"[ \t\r]\n|\n\n\n|\A\n|\n\n\Z", result)
    assert result.endswith("\n") or not result
    return result


def comments(text: str) -> list[str]:
    """Return the comments of a text, in any order, without their spaces."""
    without_strings = re.sub(r'"[^"\n]*"', "", text)
    found = re.findall(r"#[^\n]*", without_strings)
    return sorted(re.sub(r"\s", "", comment) for comment in found)


def in_body(text: str) -> str:
    """Return the layout of a network's statements, without indentation."""
    result = formatted(f"network n {{\n{text}\n}}\n")
    head, *lines, last = result.splitlines()
    assert (head, last) == ("network n {", "}")
    assert all(line.startswith("    ") or not line for line in lines)
    return "\n".join(line[4:] for line in lines)


# ---- spaces ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("conv   3x3  64 / 2 pad = 1", "conv 3x3 64 /2 pad=1"),
        ("conv 3x3 pad=- 1", "conv 3x3 pad=-1"),
        ("conv 1x1(4*width)->bn", "conv 1x1 (4 * width) -> bn"),
        ("conv [1,2 , 3]", "conv [1, 2, 3]"),
        ("unit < a,b=1 , >", "unit<a, b = 1>"),
        ("unit<>", "unit<>"),
        ("unit<a<b=1>, (c<d), e if f==g else -h>", None),
        ("conv 3x3 x2", "conv 3x3  x2"),
        ("conv 3x3->relu x( n-1 )", "conv 3x3 -> relu  x(n - 1)"),
        ("{ relu } x2 if a", "{ relu }  x2 if a"),
        ("lrn 5 if a/b[ 0 ]==f( c,d = 1 )", "lrn 5 if a / b[0] == f(c, d = 1)"),
        ("dropout /(2*s) /s", "dropout /(2 * s) /s"),
        ("a : conv", "a: conv"),
        ("layer{i+1} : unit<i>", "layer{i + 1}: unit<i>"),
        ("layer{ }: unit  x3", "layer{}: unit  x3"),
        ("@ab.c{i-1}", "@ab.c{i - 1}"),
        ("x1=2*-a**- b", "x1 = 2 * -a ** -b"),
        ("y = not(a)and b in[1,2]", "y = not (a) and b in [1, 2]"),
        ("y = [a*2 for i ,[ a,b ] in xs if a>0]", None),
        ("y=1_000+0.50+1E3+007", "y = 1_000 + 0.50 + 1E3 + 007"),
        ("input  image   3x8x8", "input image 3x8x8"),
        ("training   output @a->b:unit", "training output @a -> b: unit"),
        ("expect params==1 ,output  10", "expect params == 1, output 10"),
        ("init conv weight=normal( std=0.01 )bias = - 1", None),
        ("for i,n in layers{unit<n>}", "for i, n in layers { unit<n> }"),
        ("if a<b{relu}else if c{bn}else{tanh}", None),
        ("concat{|conv 3x3}", "concat { | conv 3x3 }"),
        ("concat{conv 3x3|}", "concat { conv 3x3 | }"),
        ("concat{ a;b|c ; d }", "concat { a; b | c; d }"),
        ("concat{\n}", "concat {}"),
        ("a;b", "a\nb"),
    ],
)
def test_spaces(text: str, expected: str | None) -> None:
    others = {
        "unit<a<b=1>,": "unit<a<b = 1>, (c < d), e if f == g else -h>",
        "y = [a*2 for": "y = [a * 2 for i, [a, b] in xs if a > 0]",
        "init conv": "init conv weight=normal(std = 0.01) bias=-1",
        "if a<b": "if a < b { relu } else if c { bn } else { tanh }",
    }
    if expected is None:
        (expected,) = [v for k, v in others.items() if text.startswith(k)]
    assert in_body(text) == expected


def test_files() -> None:
    messy = (
        "\n\narch   1;import a ,b   from std\n#no space\n"
        "block  a<x:int=1,y>seq{relu}\n\n\n\n"
        "fn f( x,y=1 )=x+y\nop o<n>{torch='m.C'}\n"
        "default  preset p=n<[ 3,4 ]> expect depth==1\npreset q=n\nexpect depth==2\n"
    ).replace("'", '"')
    assert formatted(messy) == (
        "arch 1\nimport a, b from std\n# no space\n"
        "block a<x: int = 1, y> seq { relu }\n\n"
        'fn f(x, y = 1) = x + y\nop o<n> { torch = "m.C" }\n'
        "default preset p = n<[3, 4]> expect depth == 1\npreset q = n\n"
        "    expect depth == 2\n"
    )


@pytest.mark.parametrize("text", ["", "\n", "   \n\n", "\r\n"])
def test_nothing(text: str) -> None:
    assert formatted(text) == ""


def test_windows_line_ends_go() -> None:
    assert formatted("arch 1  # a\r\n\r\n# b\r\nblock a {\r\n relu\r\n}\r\n") == (
        "arch 1  # a\n\n# b\nblock a {\n    relu\n}\n"
    )


# ---- lines ----------------------------------------------------------------------


def test_blank_lines_stay_single_and_inside() -> None:
    assert in_body("\n\na\n\n\n\nb\nconcat {\n\n  c\n\n  d\n\n |\n\n e\n\n}\n\n") == (
        "a\n\nb\nconcat {\n    c\n\n    d\n  | e\n}"
    )


def test_branches_begin_with_a_bar() -> None:
    text = "concat {\nbranch1: a\n|branch2: b\nc\n|\n| d | e }"
    assert in_body(text) == (
        "concat {\n    branch1: a\n  | branch2: b\n    c\n  |\n  | d\n  | e\n}"
    )


def test_an_empty_first_branch_has_no_line() -> None:
    assert in_body("concat {\n|\na\n}") == "concat {\n  | a\n}"


def test_braces_on_one_line_stay_there_if_they_fit() -> None:
    short = "concat { identity | conv 3x3 32 -> bn }"
    assert in_body(short) == short
    layers = " | ".join(f"branch{n}: conv 3x3 {n}" for n in range(5))
    lines = "\n  | ".join(f"branch{n}: conv 3x3 {n}" for n in range(5))
    assert in_body(f"concat {{ {layers} }}") == f"concat {{\n    {lines}\n}}"


def test_braces_over_lines_stay_so() -> None:
    assert in_body("concat { a\n| b }") == "concat {\n    a\n  | b\n}"


def _chain(count: int) -> str:
    return " -> ".join(f"conv 3x3 {100 + n}" for n in range(count))


def test_chains_are_broken_before_arrows_if_need_be() -> None:
    assert len(_chain(5)) <= WIDTH - 4 < len(_chain(6))
    assert in_body(_chain(5)) == _chain(5)
    assert in_body(_chain(5).replace(" ->", "\n->")) == _chain(5)
    assert in_body(_chain(6)) == _chain(6).replace(" ->", "\n    ->")


def test_the_last_column_is_used() -> None:
    name = "a" * (WIDTH - 4 - len("conv 3x3 -> "))
    assert in_body(f"conv 3x3 -> {name}") == f"conv 3x3 -> {name}"
    assert in_body(f"conv 3x3 -> {name}a") == f"conv 3x3\n    -> {name}a"


def test_chains_go_on_behind_braces() -> None:
    text = "residual {\n    conv 3x3 -> bn\n} -> relu  x2"
    assert in_body(text) == text


def test_comments_do_not_count_for_the_width() -> None:
    text = f"{_chain(5)}  # {'long ' * 20}"
    assert in_body(text) == text.rstrip()


def test_arguments_that_do_not_fit() -> None:
    some = ", ".join(f"argument{n} = {n}" for n in range(4))
    many = [f"argument{n} = {n}" for n in range(9)]
    fits = "a" * (WIDTH - 4 - len(f"unit<{some}, >  x2"))
    assert in_body(f"unit<{some}, {fits}>  x2") == f"unit<{some}, {fits}>  x2"
    assert in_body(f"unit<{some}, {fits}a>  x2") == f"unit<\n    {some}, {fits}a\n>  x2"
    lines = "".join(f"    {argument},\n" for argument in many)
    assert in_body(f"unit<{', '.join(many)}>") == f"unit<\n{lines}>"


def test_headers_that_do_not_fit() -> None:
    params = ", ".join(f"parameter{n} = {n}" for n in range(5))
    assert formatted(f"block name<{params}> {{ relu }}") == (
        f"block name<\n    {params}\n> {{\n    relu\n}}\n"
    )


def test_lists_that_do_not_fit() -> None:
    rows = [f"[mbconv, {n}, 3x3, 1, 320, 1]" for n in range(4)]
    lines = "".join(f"    {row},\n" for row in rows)
    assert in_body(f"rows = [{', '.join(rows)}]") == f"rows = [\n{lines}]"
    # No trailing comma is allowed here.
    index = f"some_list[{' + '.join(['value'] * 12)}]"
    assert in_body(f"y = {index}").endswith("value\n]")
    loop = f"[{' + '.join(['value'] * 20)} for a, b in pairs]"
    assert in_body(f"y = {loop}").endswith(" for a, b in pairs\n]")


def test_claims_that_do_not_fit() -> None:
    claims = "expect params == 143_678_248, macs == 19_000_000_000, depth == 19"
    assert formatted(f"preset p = Net<[2, 2, 4, 4, 4]> {claims}\n") == (
        f"preset p = Net<[2, 2, 4, 4, 4]>\n    {claims}\n"
    )
    more = f"{claims}, output 1000, receptive_field 7x7"
    assert in_body(more) == more.replace(", ", ",\n    ")


# ---- comments -------------------------------------------------------------------

COMMENTED = """\
# file
arch 1  # version

# doc
block a<  # opening
    # of x
    x: int = 1,  # behind x
    y = (
        # within
        1 + 2
    ),
    # end
> {  # opening brace

    # own line

    conv 3x3  # behind
        # before the arrow
        -> bn  # behind bn
        -> relu
    concat {  # opening concat
        # first
        a  # behind a
        # end of the branch
      |  # behind the bar
        # before b
        b
      |
        # before c
        c
      | d
        # end
    }  # behind the brace
    if a {
        relu
    }  # behind if
    # before else
    else {  # opening else
        # only
    }
    expect depth == 1,  # one
        # two
        output 10
    # last
}
preset p = a
    # claims
    expect depth == 1  # claim
# end of the file
"""


def test_comments_stay() -> None:
    assert formatted(COMMENTED) == COMMENTED.replace("brace\n\n", "brace\n")


def test_comments_get_a_space() -> None:
    assert (
        formatted("#a\n##b\n#\n#!c\narch 1 #d  \n") == "# a\n##b\n#\n#!c\narch 1  # d\n"
    )


def test_comments_within_expressions_go_before_them() -> None:
    assert in_body("y = f(a + # one\n b, # two\n c)") == (
        "y = f(\n    # one\n    a + b,  # two\n    c\n)"
    )


def test_comments_behind_a_separator() -> None:
    assert in_body("a; # one\nb ;# two\n c") == "a  # one\nb  # two\nc"


def test_the_doc_of_a_block_stays() -> None:
    text = "# far\n\n#doc\n#  more\nblock a { relu }"
    assert formatted(text) == "# far\n\n# doc\n#  more\nblock a { relu }\n"


# ---- in general -----------------------------------------------------------------


@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.stem)
def test_shipped_specs(path: Path) -> None:
    result = formatted(path.read_text(encoding="utf-8"))
    lines = [line.partition("#")[0].rstrip() for line in result.splitlines()]
    assert all(len(line) <= WIDTH for line in lines)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(specs())
def test_any_spec(text: str) -> None:
    formatted(text)


@pytest.mark.parametrize(
    "text", ["arch 1\nblock a {", "conv 3x3", "arch 1\n\0", "a: b"]
)
def test_what_does_not_parse_is_refused(text: str) -> None:
    with pytest.raises(SpecError):
        format_source(Source("", text))
