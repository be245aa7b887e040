"""Messages for syntax errors, with what to write instead."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from lark import Token, UnexpectedInput

from archdsl.diagnostics import Diagnostic, did_you_mean
from archdsl.source import Source, Span
from archdsl.syntax.lines import BAD_WORD, LINE_END, SEPARATOR, LineFilter, position

TOP_WORDS: Final = ("block", "network", "preset", "import", "default")

_NAMES: Final = {
    "_NL": "the end of the line",
    "$END": "the end of the file",
    "ARROW": "`->`",
    "DIMS": "sizes such as 3x3",
    "NAME": "a name",
    "NUMBER": "a number",
    "PART": "a name",
    "REPEAT": "a repeat such as x2",
    "STRING": "a string",
    "TAP": "a tap such as @label",
    "TEMPLATE": "a label",
    "XPAREN": "`x(`",
    "LBRACE": "`{`",
    "RBRACE": "`}`",
    "LPAR": "`(`",
    "RPAR": "`)`",
    "LSQB": "`[`",
    "RSQB": "`]`",
    "OPEN": "`<`",
    "GIVEN": "`<`",
    "LESSTHAN": "`<`",
    "MORETHAN": "`>`",
    "EQUAL": "`=`",
    "COLON": "`:`",
    "COMMA": "`,`",
    "VBAR": "`|`",
    "SLASH": "`/`",
    "MINUS": "`-`",
}
_VALUES = frozenset({"NAME", "NUMBER", "DIMS", "STRING", "TRUE", "FALSE"})
_STARTS = frozenset({"_NL", "LBRACE", "VBAR", "ARROW"})


_SEPARATOR_SIGN = re.compile(r"\n|;")


class Place:
    """A syntax error: the refused token and its surroundings.

    Attributes:
        at: the offset of the refused token.
        end: the offset of its end.
        word: the refused token, as written.
        kind: its terminal; empty for a character that starts none.
        last: the token before, or None.
        before: the token before that, or None.
        first: the first token of the statement; None if it is the refused one.
        expected: the terminals that could stand here.
    """

    def __init__(
        self,
        source: Source,
        lines: LineFilter,
        error: UnexpectedInput,
        expected: set[str],
    ) -> None:
        text = source.text
        token: Token | None = getattr(error, "token", None)
        self.source, self.text, self.lines = source, text, lines
        self.kind = "" if token is None else token.type
        self.at = position(error) or 0
        if self.kind == "$END":
            self.at = len(text)
        elif self.kind == SEPARATOR:
            found = _SEPARATOR_SIGN.search(text, self.at)
            self.at = found.start() if found else self.at
        self.end = self.at + 1
        if token is not None and token.end_pos is not None and self.kind != SEPARATOR:
            self.end = token.end_pos
        if self.kind == BAD_WORD or token is None:
            found = re.compile(r"\w+|.", re.S).match(text, self.at)
            self.end = found.end() if found else self.at + 1
        self.word = text[self.at : self.end]
        self.last, self.before, self.first = lines.last, lines.before, lines.first
        self.expected = expected

    def after(self, *kinds: str) -> bool:
        """Whether the token before is of one of these kinds."""
        return self.last is not None and self.last.type in kinds

    def starts(self) -> bool:
        """Whether the token before is the first of an element."""
        return self.before is None or self.before.type in _STARTS

    def wants_value(self) -> bool:
        """Whether only a value can stand here."""
        return self.expected >= _VALUES and not self.expected & {"_NL", "ARROW"}

    def looking_at(self, *texts: str) -> bool:
        """Whether the refused token is one of these."""
        return self.text.startswith(texts, self.at)

    def span(self) -> Span:
        """Return the span of the refused token."""
        return Span(self.source, self.at, max(self.end, self.at + 1))

    def error(
        self, message: str, help: str | None = None, span: Span | None = None
    ) -> Diagnostic:
        """Return a diagnostic for this place."""
        code = "A0001" if self.kind else "A0002"
        return Diagnostic(code, message, span or self.span(), help=help)

    def refused(self, help: str | None) -> Diagnostic:
        """Return the plain diagnostic with some help."""
        return self.error(f"`{self.word}` is not expected here", help)


def explain(place: Place) -> Diagnostic:
    """Return the message for a syntax error, with what to write instead."""
    for rule in _RULES:
        found = rule(place)
        if found is not None:
            return found
    if place.kind:
        return place.refused(_expected(place))
    return place.error(f"`{place.word}` is not allowed here", _expected(place))


def _expected(place: Place) -> str | None:
    """List what could stand here, unless that is too much."""
    if place.expected >= {"BLOCK", "NETWORK"}:
        near = did_you_mean(place.word, TOP_WORDS)
        return near or "a file consists of `import`, `block`, `network` and `preset`"
    names = sorted(_NAMES.get(e, f"`{e.lower()}`") for e in place.expected)
    if place.wants_value():
        names = ["a value"]
    if not 0 < len(names) <= 4:
        return None
    *most, final = names
    return f"expected {', '.join(most)} or {final}" if most else f"expected {final}"


# ---- rules, the most specific first ----------------------------------------------


def _bad_word(place: Place) -> Diagnostic | None:
    if place.kind != BAD_WORD:
        return None
    help = "numbers, sizes such as 3x3 and repeats such as x2 have spaces between them"
    return place.error(f"`{place.word}` is neither a number nor sizes", help)


def _comment(place: Place) -> Diagnostic | None:
    start = place.at - 1 if place.text.startswith("//", place.at - 1) else place.at
    if place.text.startswith(("//", "/*"), start):
        span = Span(place.source, start, start + 2)
        found = place.text[start : start + 2]
        help = "a comment begins with `#`"
        return place.error(f"`{found}` is not expected here", help, span)
    return None


def _closed_early(place: Place) -> Diagnostic | None:
    """A `>` that is left over, since an earlier one was meant as a comparison."""
    too_many = re.compile(r"\s*\n\s*>(?!=)").match(place.text, place.at)
    if too_many is None or place.after("MORETHAN"):
        return None
    start = place.first.start_pos or 0 if place.first else 0
    compared = [*re.finditer(r"\s(>)\s", place.text[start : place.at])]
    if not compared:
        return None
    at = start + compared[-1].start(1)
    help = "inside < >, put comparisons with < and > in parentheses"
    span = Span(place.source, at, at + 1)
    return place.error("this `>` ends the arguments", help, span)


def _line_end(place: Place) -> Diagnostic | None:
    last = place.last
    broken = place.lines.breaks(place.at) and place.kind not in ("ARROW", "ELSE")
    ended = place.kind in (LINE_END, "$END") or place.word == "\n" or broken
    if not ended or last is None or last.end_pos is None:
        return None
    other = _ELSE.match(place.text, last.end_pos)
    if other is not None:
        span = Span(place.source, other.start(1), other.end(1))
        help = "`else` follows the `}` of an `if`"
        return place.error("`else` is not expected here", help, span)
    here = Span(place.source, last.start_pos or 0, last.end_pos)
    if last.type == "ARROW":
        help = "a chain continues with `->` at the start of the next line"
        return place.error("the line ends after `->`", help, here)
    if _BRACE.match(place.text, last.end_pos):
        help = "`{` belongs on the same line as its label or word"
        return place.error("the line ends before `{`", help, here)
    if last.type == "COLON" and place.before and place.before.type in _LABELS:
        span = Span(place.source, place.before.start_pos or 0, last.end_pos)
        help = f"write a layer after it: `{place.before}: conv 3x3 64`"
        return place.error(f"the label `{place.before}` has no layer", help, span)
    end = Span(place.source, last.end_pos, last.end_pos + 1)
    if last.type == "EQUAL":
        return place.error("the value is missing", "write it on this line", end)
    what = "file" if place.kind == "$END" else "line"
    return place.error(f"the {what} ends too early", _expected(place), end)


_BRACE = re.compile(r"\s*\{")
_ELSE = re.compile(r"\s*\b(else)\b")
_LABELS = frozenset({"NAME", "TEMPLATE"})


def _unclosed(place: Place) -> Diagnostic | None:
    token = place.lines.unclosed(place.at)
    if token is None or place.looking_at("<", ">"):
        return None
    start = token.start_pos or 0
    help = "`>` ends the arguments"
    if re.search(r"\s[<>]\s", place.text[start : place.at]):
        help = "inside < >, put comparisons with < and > in parentheses"
    span = Span(place.source, start, start + 1)
    return Diagnostic("A0003", "this `<` is never closed", span, help=help)


def _quote(place: Place) -> Diagnostic | None:
    if place.kind or place.word[0] not in "'\"‘’“”`«»":  # noqa: RUF001
        return None
    help = 'strings are in double quotes: "spec.arch"'
    if place.word == '"':
        help = "a string must end on the line where it starts"
    return place.error(f"`{place.word}` is not allowed here", help)


def _character(place: Place) -> Diagnostic | None:
    """Characters of other alphabets, and those that only look right."""
    for text, help in _FOREIGN.items():
        start = place.at - (place.text[place.at - 1 : place.at + 1] == text)
        if place.text.startswith(text, start):
            span = Span(place.source, start, start + len(text))
            return place.error(f"`{text}` is not expected here", help, span)
    if not place.kind and not place.word.isascii():
        character = place.word[0]
        help = "names have ASCII letters, digits and `_`"
        if character.isspace():
            help = "this is not an ordinary space"
        message = f"`{character}` (U+{ord(character):04X}) is not allowed here"
        return place.error(message, help, Span(place.source, place.at, place.at + 1))
    return None


_FOREIGN: Final = {
    "=>": "write `->`",
    "&&": "write `and`",
    "||": "write `or`",
    "×": "sizes are written with the letter x: 3x3",
    "→": "write `->`",
}


def _equals(place: Place) -> Diagnostic | None:
    """A `=` that should be something else."""
    first, second = place.first, place.lines.second
    names_value = first is not None and first.type == "NAME" and second == "="
    if names_value and place.kind in _VALUES | {"OPEN", "ARROW", "LBRACE", "REPEAT"}:
        help = f"a label ends in a colon: `{first}: ...`"
        return place.error(f"`{place.word}` is not expected in a value", help)
    if place.kind != "EQUAL" or place.last is None:
        return None
    if first is not None and first.type in ("IF", "EXPECT"):
        return place.error("`=` does not compare", "write `==`")
    return None


def _colon(place: Place) -> Diagnostic | None:
    """A `:` after something that is not a label."""
    last = place.last
    if (place.kind != "COLON" and not place.looking_at(":")) or last is None:
        return None
    first = place.first
    if last is first and last.type != "NAME" and last.isidentifier():
        help = f"`{last}` is a word of the language; choose another label"
        return place.error("`:` is not expected here", help)
    if first is not None and first.type in ("PRESET", "DEFAULT"):
        help = f"write `preset {last} = ...`"
        return place.error("`:` is not expected here", help)
    if last.type == "NAME" and not place.starts():
        equals = " = " if place.lines.in_brackets() else "="
        help = f"an argument's name ends in `=`: `{last}{equals}...`"
        return place.error("`:` is not expected here", help)
    return place.error(
        "`:` is not expected here", "a label comes before a layer: `name: conv 3x3 64`"
    )


def _compare(place: Place) -> Diagnostic | None:
    """A bare `<` or `>` inside < >."""
    if not place.looking_at("<", ">"):
        return None
    if place.wants_value():
        return place.error(f"a value is missing before `{place.word}`")
    line = place.text[place.text.rfind("\n", 0, place.at) + 1 : place.at]
    if place.after("MORETHAN") or not (place.lines.in_brackets() or "<" in line):
        return None
    named = re.search(r"(\w+)\s*<[^<]*$", line)
    opened = [token.type for token in place.lines.opened]
    if named and place.word == ">" and opened[-1:] == ["LSQB"]:
        return place.refused(
            "in an expression, arguments of a kind or block have names: "
            f"`{named[1]}<name = value>`"
        )
    return place.refused("inside < >, put comparisons with < and > in parentheses")


def _inputs(place: Place) -> Diagnostic | None:
    """The names of a block's inputs, in the wrong place or form."""
    first, opened = place.first, [token.type for token in place.lines.opened]
    if first is None or first.type not in ("BLOCK", "NETWORK") or "LBRACE" in opened:
        return None
    if first.type == "NETWORK":
        if not place.looking_at("("):
            return None
        return place.refused("a network has its inputs inside: `input high 3x32x32`")
    if place.looking_at("<") and not opened:
        return place.refused("parameters come first: `block fuse<width>(high, low)`")
    if opened[-1:] == ["LPAR"]:
        return place.refused(
            "inputs are names separated by commas: `block fuse(high, low)`"
        )
    return None


def _comma(place: Place) -> Diagnostic | None:
    if place.kind == "COMMA" and not place.lines.in_brackets():
        return place.refused("arguments have spaces between them: `conv 3x3 64`")
    if place.kind == "COMMA" and place.lines.opened[-1].type == "LPAR":
        return place.refused("arguments have no parentheses: `conv 3x3 64`")
    listed = "COMMA" in place.expected and place.lines.in_brackets()
    if listed and place.kind in _VALUES:
        return place.refused("is a comma missing?")
    return None


def _operator(place: Place) -> Diagnostic | None:
    if place.kind in _OPERATORS and "SLASH" in place.expected:
        return place.refused("put arithmetic in parentheses: `(4 * width)`")
    return None


_OPERATORS = frozenset({"PLUS", "MINUS", "STAR", "PERCENT", "__ANON_2", "__ANON_3"})


def _repeat(place: Place) -> Diagnostic | None:
    repeat = re.compile(r"x(\d+\b|\()").match(place.text, place.at)
    start = place.first.start_pos or 0 if place.first else place.at
    guard = re.search(r"\s(if\s[^;{}]*?)\s*$", place.text[start : place.at])
    if repeat is not None and guard is not None:
        repeated = f"{repeat[0]}...)" if repeat[1] == "(" else repeat[0]
        help = f"a repeat comes before the guard: `{repeated} {guard[1]}`"
        return place.refused(help)
    if place.kind in ("REPEAT", "XPAREN"):
        return place.refused("a repeat comes once, at the end of a chain")
    return None


def _renamed(place: Place) -> Diagnostic | None:
    if place.kind == "RENAMED":
        help = "it follows its layer, before a repeat and an `if`"
        return place.refused(help)
    if place.after("RENAMED"):
        return place.refused('older names are in quotes: `renamed from "norm.1"`')
    if place.kind == "COMMA" and re.search(_OLDER, place.text[: place.at]):
        return place.refused('write `or` between older names: `"norm.1" or "bn1"`')
    return None


_OLDER: Final = re.compile(r'renamed[ \t]+from\s+"[^"\n]*"\s*\Z')


def _registered(place: Place) -> Diagnostic | None:
    """The names after `register`."""
    if place.first is None or place.first.type != "REGISTER":
        return None
    if place.word.startswith("@"):
        return place.refused("names stand without `@`: `register downsample, norm1`")
    if place.after("PART", "STRING") and place.kind != "ARROW":
        return place.refused("names have commas between them: `register a, b`")
    if place.after("REGISTER", "COMMA"):
        return place.refused("name parts of the body: `register downsample, norm1`")
    return None


def _statement(place: Place) -> Diagnostic | None:
    """Keywords of statements in the wrong place."""
    first = place.first
    if first is not None and str(first) in ("elif", "elseif"):
        span = Span(place.source, first.start_pos or 0, first.end_pos or 0)
        return place.error(f"`{first}` is not expected here", "write `else if`", span)
    if place.word == "else":
        return place.refused("`else` follows the `}` of an `if`")
    if place.lines.opened and first is not None and str(first) in TOP_WORDS[:3]:
        help = f"a {first} belongs at the top level of a file; is a `}}` missing above?"
        span = Span(place.source, first.start_pos or 0, first.end_pos or 0)
        return place.error(f"`{first}` is not expected here", help, span)
    if place.after("RBRACE") and place.kind in _VALUES | {"TEMPLATE", "LBRACE"}:
        help = "put each statement on its own line; a chain continues with `->`"
        return place.refused(help)
    if place.kind == "ARROW" and "ARROW" not in place.expected:
        return place.refused("a chain begins with a layer")
    if place.kind == "TAP":
        return place.refused(f"a tap is a branch: `add {{ | {place.word} }}`")
    if place.word == "@":
        return place.refused("a tap names an earlier label: `@conv1`")
    if place.word == ";":
        return place.error("`;` is not expected here", "`;` separates two statements")
    return None


_RULES: Final[tuple[Callable[[Place], Diagnostic | None], ...]] = (
    _bad_word,
    _comment,
    _closed_early,
    _line_end,
    _unclosed,
    _quote,
    _character,
    _equals,
    _colon,
    _compare,
    _inputs,
    _renamed,
    _registered,
    _comma,
    _operator,
    _repeat,
    _statement,
)
