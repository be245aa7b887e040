"""Decides which line ends among the tokens end a statement."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lark import Token, UnexpectedInput

_OPENERS = frozenset({"LPAR", "XPAREN", "LSQB", "OPEN", "LBRACE"})
_CLOSERS = frozenset({"RPAR", "RSQB", "RBRACE"})
# A statement can continue on the next line after, or before, these.
_STARTERS = frozenset({"_NL", "LBRACE", "VBAR"})
# Statements that may continue after a comma at the end of a line.
_LISTS = frozenset({"IMPORT", "EXPECT", "PRESET", "DEFAULT", "REGISTER"})
_GOES_ON_BEFORE = frozenset({"ARROW", "VBAR", "RBRACE", "COMMA", "ELSE"})

_ANGLE_MARK = re.compile(r'#[^\n]*|"[^"\n]*"|->|[<>{}|;]')
_ENDS_ANGLE = frozenset({"->", "{", "}", "|", ";"})

SEPARATOR = "_NL"
# Terminals that no rule uses: the parser must refuse them.
LINE_END = "LINE_END"
BAD_WORD = "BAD_WORD"


def position(error: UnexpectedInput) -> int | None:
    """Return the offset of an error; None at the end of the text."""
    at: int | None = getattr(error, "pos_in_stream", None)
    return at


class LineFilter:
    """A filter of tokens between the lexer and the parser.

    The contextual lexer skips line ends where the parser accepts none, and returns some
    inside brackets, where they mean nothing. This filter restores the former and drops
    the latter.

    Attributes:
        opened: the open brackets, outermost first.
        last: the last token that the parser accepted.
        before: the token before that.
        first: the first token of the statement.
        second: the token after it.
        kept: all tokens, if they are wanted.
    """

    always_accept = ()

    def __init__(self) -> None:
        self.kept: list[Token] | None = None
        self.begin("")

    def begin(self, text: str) -> None:
        """Prepare for the next parse."""
        self.text = text
        self.opened: list[Token] = []
        self.last: Token | None = None
        self.before: Token | None = None
        self.first: Token | None = None
        self.second: Token | None = None
        self._outer: list[tuple[Token | None, Token | None]] = []

    def resume(self) -> None:
        """Continue with a new statement in the innermost braces."""
        while self.opened and self.opened[-1].type != "LBRACE":
            self.opened.pop()
        self.last = self.before = self.first = self.second = None

    def in_brackets(self) -> bool:
        """Whether line ends have no meaning here."""
        return bool(self.opened) and self.opened[-1].type != "LBRACE"

    def _in_angle(self) -> bool:
        return bool(self.opened) and self.opened[-1].type == "OPEN"

    def process(self, tokens: Iterator[Token]) -> Iterator[Token]:
        """Pass the tokens on."""
        for token in tokens:
            if token.type == SEPARATOR and self.in_brackets():
                continue
            wrong = self._wrong(token)
            if wrong is not None:
                yield wrong  # the parser refuses it
            yield token
            # Not reached if the parser refuses the token.
            self._taken(token)

    def _wrong(self, token: Token) -> Token | None:
        last = self.last
        if last is None or last.end_pos is None or token.start_pos is None:
            return None
        end, start = last.end_pos, token.start_pos
        if end == start:
            if last[-1].isalnum() and token[0].isalnum():
                word = self.text[last.start_pos : token.end_pos]
                return Token(BAD_WORD, word, last.start_pos, end_pos=token.end_pos)
        elif self.breaks(start) and token.type not in _GOES_ON_BEFORE:
            return Token(LINE_END, "\n", end, end_pos=end)
        return None

    def breaks(self, start: int) -> bool:
        """Whether a line ends before an offset where the statement cannot continue."""
        last, first = self.last, self.first
        if last is None or first is None or self.in_brackets():
            return False
        goes_on = last.type == "COMMA" and first.type in _LISTS
        if goes_on or last.type in _STARTERS:
            return False
        return self.text.find("\n", last.end_pos or 0, start) >= 0

    def unclosed(self, at: int) -> Token | None:
        """Return the `<` that is open at an offset and never closed."""
        if not self.opened or self.opened[-1].type != "OPEN":
            return None
        last = self.last
        if last is not None and last.type not in ("COMMA", "OPEN"):
            between = self.text[last.end_pos : at].lstrip()
            if "\n" in self.text[last.end_pos : at] and not between:
                return self.opened[-1]
        depth = 1
        for mark in _ANGLE_MARK.finditer(self.text, at):
            if mark[0] == "<":
                depth += 1
            elif mark[0] == ">":
                depth -= 1
                if not depth:
                    return None
            elif mark[0] in _ENDS_ANGLE:
                break
        return self.opened[-1]

    def _taken(self, token: Token) -> None:
        if token.type == "GIVEN":
            token = Token.new_borrow_pos("OPEN", token, token)
        kind = token.type
        if kind in _OPENERS:
            self.opened.append(token)
        elif kind in _CLOSERS or (kind == "MORETHAN" and self._in_angle()):
            self.opened.pop()
        if kind == "LBRACE":
            self._outer.append((self.first, self.second))
        if kind == "RBRACE":
            self.first, self.second = self._outer.pop()
        elif kind in _STARTERS:
            self.first = self.second = None
        elif self.first is None:
            self.first = token
        elif self.second is None:
            self.second = token
        self.before, self.last = self.last, token
        if self.kept is not None:
            self.kept.append(token)
