"""Text to syntax tree, with every independent syntax error reported at once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from archdsl.diagnostics import Diagnostic, SpecError, did_you_mean
from archdsl.limits import MAX_DEPTH, MAX_INTEGER
from archdsl.resources import grammar_text
from archdsl.source import Source, Span
from archdsl.syntax import tree as t

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lark import Lark, Token, UnexpectedInput

    from archdsl.syntax.build import Build

MAX_SYNTAX_ERRORS = 20
TOP_WORDS = ("block", "network", "preset", "import", "default")


def parse(source: Source) -> t.File:
    """Parse a whole file.

    Raises:
        SpecError: with every syntax error that stands on its own.
    """
    check_characters(source)
    check_nesting(source)
    cached = _load_tree(source)
    if cached is not None:
        return cached
    file = _parse_text(source)
    _store_tree(file)
    return file


def parse_expression(source: Source, text: str, offset: int) -> t.Expr:
    """Parse one expression that stands at `offset` of a source."""
    from lark import UnexpectedInput

    build, lark = _parser()
    outer = build.source
    inner = Source(source.name, " " * offset + text)
    build.source = inner
    try:
        expr: t.Expr = lark.parse(inner.text, start="expr")  # type: ignore[assignment]
    except UnexpectedInput as error:
        start = (
            offset + len(text) if error.pos_in_stream is None else error.pos_in_stream
        )
        span = Span(source, min(start, offset + len(text) - 1), offset + len(text))
        raise SpecError(
            [Diagnostic("A0001", f"`{text}` is not an expression", span)]
        ) from None
    finally:
        build.source = outer
    _move(expr, source)
    return expr


def _move(expr: t.Expr, source: Source) -> None:
    """Make every span of an expression point into another source."""
    stack: list[Any] = [expr]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(node)
        elif isinstance(node, (t.Expr, t.Arg)):
            node.span.source = source
            stack.extend(vars(node).values())


# ---- checks that need no parser ---------------------------------------------

_FORBIDDEN = re.compile(
    r"[^\t\n\r\x20-\x7e\x80-\U0010ffff]|[\x80-\x9f\u202a-\u202e\u2066-\u2069]"
)
_LEXEMES = re.compile(r'#[^\n]*|"[^"\n]*"|[(\[{]|[)\]}]|\d[\d_]*')
_CLOSES = {")": "(", "]": "[", "}": "{"}


def check_characters(source: Source) -> None:
    """Refuse control characters and invisible direction marks."""
    found = _FORBIDDEN.search(source.text)
    if found:
        at = Span(source, found.start(), found.end())
        message = f"the file has a control character (U+{ord(found[0]):04X})"
        raise SpecError(
            [Diagnostic("A0006", message, at, help="save it as plain UTF-8 text")]
        )


def check_nesting(source: Source) -> None:
    """Refuse unbalanced or too deep brackets and too large integers, in one scan."""
    stack: list[re.Match[str]] = []
    for match in _LEXEMES.finditer(source.text):
        text = match[0]
        first = text[0]
        if first in "([{":
            stack.append(match)
            if len(stack) > MAX_DEPTH:
                raise _refuse(
                    source,
                    match,
                    "A0902",
                    f"brackets nest deeper than {MAX_DEPTH} levels",
                )
        elif first in ")]}":
            if not stack or stack[-1][0] != _CLOSES[first]:
                raise _unbalanced(source, match, stack)
            stack.pop()
        elif (
            first.isdigit()
            and len(text) > 9
            and int(text.replace("_", "")) > MAX_INTEGER
        ):
            raise _refuse(
                source,
                match,
                "A0903",
                f"an integer is larger than {MAX_INTEGER:,} (31 bits)",
            )
    if stack:
        match = stack[-1]
        raise _refuse(source, match, "A0003", f"this `{match[0]}` is never closed")


def _unbalanced(
    source: Source, match: re.Match[str], stack: list[re.Match[str]]
) -> SpecError:
    if not stack:
        return _refuse(source, match, "A0004", f"this `{match[0]}` closes nothing")
    opened = Span(source, stack[-1].start(), stack[-1].end())
    message = f"`{match[0]}` does not close the `{stack[-1][0]}` of line {opened.line}"
    return _refuse(source, match, "A0004", message)


def _refuse(source: Source, match: re.Match[str], code: str, message: str) -> SpecError:
    return SpecError(
        [Diagnostic(code, message, Span(source, match.start(), match.end()))]
    )


# ---- parsing, with recovery -------------------------------------------------


def _parse_text(source: Source) -> t.File:
    from lark import UnexpectedInput

    build, lark = _parser()
    build.source, build.errors = source, []
    text = source.text
    errors: list[Diagnostic] = []
    while True:
        try:
            file: t.File = lark.parse(text, start="start")  # type: ignore[assignment]
            break
        except UnexpectedInput as error:
            found = _describe(source, error)
            line = found.span.line if found.span else 0
            errors.append(found)
            repeated = any(e.span and e.span.line == line for e in errors[:-1])
            mended = _without_line(text, source, line)
            if repeated or mended == text or len(errors) >= MAX_SYNTAX_ERRORS:
                raise SpecError(_once_per_line(errors)) from None
            text = mended
    errors += build.errors
    if errors:
        raise SpecError(errors)
    return file


def _once_per_line(errors: list[Diagnostic]) -> list[Diagnostic]:
    kept: dict[int, Diagnostic] = {}
    for error in errors:
        kept.setdefault(error.span.line if error.span else 0, error)
    return list(kept.values())


def _without_line(text: str, source: Source, line: int) -> str:
    """Blank a faulty line, or the whole item if it is the header of one.

    Braces inside a body stay, so that what follows keeps its place.
    """
    begin = text.rfind("\n", 0, Span(source, 0, 0).start) + 1
    starts = [0] + [m.end() for m in re.finditer("\n", text)]
    begin = starts[line - 1]
    end = starts[line] - 1 if line < len(starts) else len(text)
    depth = 0
    for match in _LEXEMES.finditer(text, 0, begin):
        depth += (match[0] in "([{") - (match[0] in ")]}")
    if depth == 0:
        for match in _LEXEMES.finditer(text, begin):
            depth += (match[0] in "([{") - (match[0] in ")]}")
            if depth == 0 and match.start() >= begin and match[0] == "}":
                end = max(end, match.end())
                break
            if depth == 0 and match.start() > end:
                break
        return text[:begin] + re.sub(r"[^\n]", " ", text[begin:end]) + text[end:]
    return text[:begin] + re.sub(r"[^\n{}|]", " ", text[begin:end]) + text[end:]


_WORDS = {
    "_NL": "the end of the line",
    "ARROW": "`->`",
    "NAME": "a name",
    "TEMPLATE": "a label",
    "NUMBER": "a number",
    "DIMS": "sizes such as 3x3",
    "STRING": "a string",
    "REPEAT": "a repeat such as x2",
    "TAP": "a tap such as @label",
    "$END": "the end of the file",
}


def _describe(source: Source, error: UnexpectedInput) -> Diagnostic:
    """Turn lark's report into ours."""
    from lark import UnexpectedCharacters, UnexpectedToken

    if isinstance(error, UnexpectedCharacters):
        at = error.pos_in_stream or 0
        return _unknown_character(source, at)
    assert isinstance(error, UnexpectedToken)
    token = error.token
    start = token.start_pos if token.start_pos is not None else len(source.text)
    end = token.end_pos if token.end_pos is not None else start
    if token.type == "_NL":
        end = start = _skip_blanks(source.text, start)
    span = Span(source, start, max(end, start + 1))
    found = (
        "the file ends here"
        if token.type == "$END"
        else f"`{token}` is not expected here"
    )
    if token.type == "_NL":
        found = "the line ends too early"
    expected = error.accepts or error.expected
    return Diagnostic("A0001", found, span, help=_hint(source, token, set(expected)))


def _skip_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t":
        at += 1
    return at


def _unknown_character(source: Source, at: int) -> Diagnostic:
    span = Span(source, at, at + 1)
    char = source.text[at]
    word = re.compile(r"\w+|.", re.S).match(source.text, at)
    text = word[0] if word else char
    hint = {
        ":": "a label stands before a layer: `name: conv 3x3 64`",
        "'": 'strings stand in double quotes: "file.arch"',
        '"': "a string ends on the line it starts on",
        "=": "an argument has a name before `=`",
    }.get(char)
    if text.isalnum() and len(text) > 1:
        span = Span(source, at, at + len(text))
    return Diagnostic("A0002", f"`{text}` cannot stand here", span, help=hint)


def _hint(source: Source, token: Any, expected: set[str]) -> str | None:
    text = str(token)
    if expected >= {"BLOCK", "NETWORK"}:
        near = did_you_mean(text, TOP_WORDS)
        return near or "a file holds `import`, `block`, `network` and `preset`"
    if token.type == "REPEAT" and "ARROW" in expected:
        return "a repeat stands once, at the end of the chain"
    if token.type == "MORETHAN":
        return "inside < >, write comparisons in parentheses"
    names = sorted(_WORDS.get(e, f"`{_literal(e)}`") for e in expected)
    if 0 < len(names) <= 5:
        return "expected " + (
            " or ".join(names) if len(names) < 3 else ", ".join(names)
        )
    return None


_LITERALS = {
    "LBRACE": "{",
    "RBRACE": "}",
    "LPAR": "(",
    "RPAR": ")",
    "LSQB": "[",
    "RSQB": "]",
    "LESSTHAN": "<",
    "MORETHAN": ">",
    "EQUAL": "=",
    "COLON": ":",
    "COMMA": ",",
    "VBAR": "|",
    "SLASH": "/",
}


def _literal(terminal: str) -> str:
    return _LITERALS.get(terminal, terminal.lower())


# ---- the parser itself, and its caches --------------------------------------

_OPENERS = frozenset({"LPAR", "XPAREN", "LSQB", "OPEN", "LBRACE"})
_CLOSERS = frozenset({"RPAR", "RSQB", "MORETHAN", "RBRACE"})


class _Lines:
    """Drops the line ends inside ( ), [ ] and < >, where no statement can end."""

    always_accept = ()

    def process(self, tokens: Iterator[Token]) -> Iterator[Token]:
        """Pass the tokens on, without such line ends."""
        opened: list[str] = []
        for token in tokens:
            kind = token.type
            if kind == "_NL":
                if opened and opened[-1] != "LBRACE":
                    continue
            elif kind in _OPENERS:
                opened.append(kind)
            elif (
                kind in _CLOSERS
                and opened
                and (kind != "MORETHAN" or opened[-1] == "OPEN")
            ):
                opened.pop()
            yield token


_CACHE: list[tuple[Build, Lark]] = []


def _parser() -> tuple[Build, Lark]:
    if _CACHE:
        return _CACHE[0]
    import lark

    from archdsl.syntax.build import Build

    build = Build()
    build.expressions = parse_expression
    parser = lark.Lark(
        grammar_text(),
        parser="lalr",
        lexer="contextual",
        start=["start", "expr"],
        maybe_placeholders=True,
        transformer=build,
        postlex=_Lines(),
    )
    _CACHE.append((build, parser))
    return build, parser


def _load_tree(source: Source) -> t.File | None:
    return None


def _store_tree(file: t.File) -> None:
    return None
