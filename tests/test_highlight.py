"""The Pygments lexer agrees with the parser."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from pygments.lexers import get_lexer_by_name, get_lexer_for_filename
from pygments.token import Error, Keyword, Name, Number, Operator, String, Token

from archdsl.highlight import ArchLexer
from archdsl.naming import LANGUAGE_WORDS
from archdsl.resources import grammar_text, specs_dir
from archdsl.source import Source
from archdsl.syntax.parser import tokenize
from tests.conftest import ROOT
from tests.test_docs import refresh

SPECS = sorted(specs_dir().rglob("*.arch"))
# The token types of the grammar's terminals.
TYPES = {
    "NAME": Name,
    "TAP": Name.Variable,
    "TEMPLATE": Name.Label,
    "PART": Name.Label,
    "RENAMED": Keyword,
    "DIMS": Number,
    "NUMBER": Number,
    "REPEAT": Keyword.Pseudo,
    "XPAREN": Keyword.Pseudo,
    "STRING": String,
}
OF_EXPRESSIONS = {"and", "or", "not", "in"}


def _check_against_parser(text: str) -> None:
    """Check that the lexer has the parser's tokens, with a fitting type."""
    found = {
        at: (kind, part) for at, kind, part in ArchLexer().get_tokens_unprocessed(text)
    }
    assert "".join(part for _, part in found.values()) == text
    assert not [part for kind, part in found.values() if kind is Error]
    for token in tokenize(Source("spec", text)):
        if token.type == "_NL" or not token.strip():
            continue
        kind, part = found[token.start_pos]
        assert part == token, (part, token)
        if token.type == "NAME" and token in LANGUAGE_WORDS:
            # Some are words of the language in some places only, such as `seq`; some
            # are names to the grammar, such as `residual`.
            is_label = re.match(r"[ \t]*:", text[token.end_pos :]) is not None
            words = [Keyword, Operator.Word, Name.Builtin]
            # Some are also names of the prelude's blocks or arguments.
            assert kind in (
                [Name.Label] if is_label else [*words, Name.Attribute, Name.Class]
            ), token
        elif token.type in TYPES:
            assert kind in TYPES[token.type], (token.type, token)
        elif token.isalpha():
            wanted = Operator.Word if token in OF_EXPRESSIONS else Keyword
            assert kind in wanted, token
        else:
            assert kind in Token.Punctuation or kind in Operator, token


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_the_tokens_of_shipped_specs_are_the_parsers(path: Path) -> None:
    _check_against_parser(path.read_text(encoding="utf-8"))


def test_the_specs_of_the_pages_are_lexed() -> None:
    checked = 0
    for page in refresh.pages():
        for block in refresh.blocks(page.read_text(encoding="utf-8")):
            if block.language == "arch" and "error" not in block.words:
                tokens = list(ArchLexer().get_tokens(block.text))
                assert not [part for kind, part in tokens if kind is Error], block
                checked += 1
    assert checked > 100


def test_every_word_of_the_grammar_is_coloured() -> None:
    # Read by Lark, independently of the lexer.
    from lark.load_grammar import load_grammar

    grammar, _ = load_grammar(grammar_text(), "arch.lark", [], False)
    terminals, _, _ = grammar.compile(["start", "expr", "arg_value"], "*")
    words = {
        t.pattern.value
        for t in terminals
        if t.pattern.type == "str" and t.pattern.value.isalpha()
    }
    assert {"block", "network", "true", "else", "and"} <= words
    for word in words:
        [(kind, _), *_] = ArchLexer().get_tokens(word)
        assert kind in Keyword or kind in Operator.Word, word
    assert next(iter(ArchLexer().get_tokens("blocks")))[0] is Name


def test_what_a_name_is_shows() -> None:
    text = "head: conv 3x3 64 groups=2 x3 -> mine<wide>  # why\n"
    kinds = {part: kind for kind, part in ArchLexer().get_tokens(text)}
    assert kinds["head"] is Name.Label
    assert kinds["conv"] is Name.Builtin
    assert kinds["groups"] is Name.Attribute
    assert kinds["mine"] is kinds["wide"] is Name
    assert kinds["x3"] is Keyword.Pseudo
    assert kinds["# why"] in Token.Comment


def test_a_mistake_does_not_colour_the_rest_as_one() -> None:
    tokens = list(ArchLexer().get_tokens("conv $ 3x3 64\n"))
    assert [part for kind, part in tokens if kind is Error] == ["$"]
    assert (Number, "3x3") in tokens


def test_pygments_finds_the_lexer() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    declared = re.search(r'pygments\.lexers"\]\narch = "(.+)"', text)
    assert declared
    assert declared[1] == f"{ArchLexer.__module__}:{ArchLexer.__qualname__}"
    if not entry_points(group="pygments.lexers", name="arch"):
        pytest.skip("archdsl was installed before it had a lexer")
    assert isinstance(get_lexer_by_name("arch"), ArchLexer)
    assert isinstance(get_lexer_for_filename("net.arch"), ArchLexer)
