"""A Pygments lexer for the language, whose words and symbols come from the grammar.

Pygments finds it by its entry point, for MkDocs, Sphinx and `pygmentize -l arch`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Final

from pygments.lexer import RegexLexer, bygroups, default, words
from pygments.token import (
    Comment,
    Keyword,
    Name,
    Number,
    Operator,
    Punctuation,
    String,
    Whitespace,
)

from archdsl import ops
from archdsl.naming import LANGUAGE_WORDS
from archdsl.resources import grammar_text

_GRAMMAR: Final = re.sub(r"^\s*//.*", "", grammar_text(), flags=re.M)
_PATTERN: Final = re.compile(r"^([A-Z]+)(?:\.-?\d+)?: /(.+)/$", flags=re.M)
_TERMINALS: Final = dict(_PATTERN.findall(_GRAMMAR))
_LITERALS: Final = {*re.findall('"([^"\n]+)"', _PATTERN.sub("", _GRAMMAR))}
_WORDS: Final = {word for word in _LITERALS if word.isalpha()}
_SIGNS: Final = _LITERALS - _WORDS | {_TERMINALS["OPEN"]}
# A semicolon is a line end to the grammar.
_BRACKETS: Final = {sign for sign in _SIGNS if sign in "{}[](),:|"} | {";"}
_OF_EXPRESSIONS: Final = {"and", "in", "not", "or"}
_VALUES: Final = {"false", "true"}
_DECLARING: Final = {"block", "fn", "network", "op", "preset"}
# A layer kind is a file of that name; the other words are names to the grammar.
_KINDS: Final = {path.stem for path in Path(ops.__path__[0]).glob("[a-z]*.py")}
_BUILT_IN: Final = _KINDS | (LANGUAGE_WORDS - _WORDS)


class ArchLexer(RegexLexer):
    """Classifies the tokens of an `.arch` file for syntax highlighting."""

    name = "archdsl"
    url = ""
    aliases: ClassVar[list[str]] = ["arch", "archdsl"]
    filenames: ClassVar[list[str]] = ["*.arch"]

    tokens: ClassVar = {
        "root": [
            (_TERMINALS["COMMENT"], Comment.Single),
            (_TERMINALS["WS"], Whitespace),
            (_TERMINALS["STRING"], String),
            (_TERMINALS["TAP"], Name.Variable),
            (_TERMINALS["TEMPLATE"], Name.Label),
            (rf"{_TERMINALS['NAME']}(?=[ \t]*:)", Name.Label),
            (_TERMINALS["DIMS"], Number),
            (_TERMINALS["NUMBER"], Number),
            (_TERMINALS["RENAMED"], Keyword),
            (r"register\b(?!\s*=)", Keyword, "parts"),
            (_TERMINALS["REPEAT"], Keyword.Pseudo),
            (_TERMINALS["XPAREN"], Keyword.Pseudo),
            (
                rf"({'|'.join(sorted(_DECLARING))})(\s+)({_TERMINALS['NAME']})",
                bygroups(Keyword.Declaration, Whitespace, Name.Class),
            ),
            (rf"{_TERMINALS['NAME']}(?=[ \t]*=(?!=))", Name.Attribute),
            (words(sorted(_OF_EXPRESSIONS), suffix=r"\b"), Operator.Word),
            (words(sorted(_VALUES), suffix=r"\b"), Keyword.Constant),
            (words(sorted(_WORDS), suffix=r"\b"), Keyword),
            (words(sorted(_BUILT_IN), suffix=r"\b"), Name.Builtin),
            (_TERMINALS["NAME"], Name),
            (words(sorted(_BRACKETS)), Punctuation),
            (words(sorted(_SIGNS - _BRACKETS)), Operator),
        ],
        # The names behind `register`, which may have dots.
        "parts": [
            (_TERMINALS["COMMENT"], Comment.Single),
            (_TERMINALS["WS"], Whitespace),
            (_TERMINALS["STRING"], String, ("#pop", "comma")),
            (_TERMINALS["PART"], Name.Label, ("#pop", "comma")),
            default("#pop"),
        ],
        "comma": [
            (r"(\s*)(,)", bygroups(Whitespace, Punctuation), ("#pop", "parts")),
            default("#pop"),
        ],
    }
