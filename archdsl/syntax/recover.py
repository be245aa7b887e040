"""Runs the parser, and continues after a syntax error.

After an error, the rest of its statement is skipped. Layers in braces within the
statement are still parsed, so that mistakes in them are reported, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lark import Token, UnexpectedInput

from archdsl.diagnostics import Diagnostic, SpecError
from archdsl.limits import MAX_TOKENS
from archdsl.source import Source, Span
from archdsl.syntax import tree as t
from archdsl.syntax.explain import Place, explain
from archdsl.syntax.lines import LINE_END, LineFilter, position

if TYPE_CHECKING:
    from lark import Lark
    from lark.parsers.lalr_interactive_parser import InteractiveParser

_MARK = re.compile(r'#[^\n]*|"[^"\n]*"|->|[(\[{)\]}>|;\n]')
_BRACE = re.compile(r"\s*\{")
_CLOSES = {")": "(", "]": "[", ">": "<"}
_OPENS = {"LPAR": "(", "XPAREN": "(", "LSQB": "[", "OPEN": "<"}
# Replacements for an unreadable header, so that its braces can be parsed.
_REPAIRS = (
    (),
    ("NAME",),
    ("IN", "NAME"),
    ("NAME", "IN", "NAME"),
    ("BLOCK", "NAME"),
)


def parse_all(
    lark: Lark, lines: LineFilter, source: Source, limit: int
) -> tuple[t.File | None, list[Diagnostic]]:
    """Parse a file; return its tree and every independent error.

    Unreadable statements are left out of the tree. The tree is None if not even the end
    of the file can be parsed.
    """
    parser = lark.parse_interactive(source.text, start="start")
    line_end = re.compile(lark.get_terminal("_NL").pattern.to_regexp())
    errors: list[Diagnostic] = []
    tokens = tries = 0
    while True:
        try:
            state = parser.parser_state
            for token in parser.lexer_thread.lex(state):  # type: ignore[no-untyped-call]
                tokens += 1
                if tokens > MAX_TOKENS:
                    raise _too_long(source, token)
                state.feed_token(token)
            file: t.File = state.feed_token(Token("$END", ""), is_end=True)
            return file, errors
        except UnexpectedInput as error:
            panic = Panic(parser, lines, source.text, line_end)
            found = explain(Place(source, lines, error, panic.expected()))
            if not errors or not _same_line(errors[-1], found):
                errors.append(found)
            tries += 1
            if max(len(errors), tries // 10) >= limit or not panic.skip(error):
                return panic.close(), errors


def _too_long(source: Source, token: Token) -> SpecError:
    """Return the error for a text that would take seconds to parse."""
    span = Span(source, token.start_pos or 0, token.end_pos or 0)
    message = f"the file has more than {MAX_TOKENS:,} words and symbols"
    return SpecError([Diagnostic("A0901", message, span)])


def _same_line(a: Diagnostic, b: Diagnostic) -> bool:
    return a.span is not None and b.span is not None and a.span.line == b.span.line


class Panic:
    """The state of the parser at a syntax error, for panic-mode recovery."""

    def __init__(
        self,
        parser: InteractiveParser,
        lines: LineFilter,
        text: str,
        line_end: re.Pattern[str],
    ) -> None:
        state = parser.parser_state
        self.states: list[Any] = state.state_stack
        self.values: list[Any] = state.value_stack
        self.table: Any = state.parse_conf.states
        self.end = state.parse_conf.end_state
        self.parser = parser
        self.lines = lines
        self.text = text
        self.line_end = line_end

    def expected(self) -> set[str]:
        """Return the terminals that could stand here."""
        choices = self.table[self.states[-1]]
        return {c for c in choices if c.upper() == c and self._accepts((c,))}

    def _accepts(self, kinds: tuple[str, ...], depth: int = 0) -> bool:
        """Whether the parser accepts these tokens after dropping `depth` values."""
        states = self.states[: len(self.states) - depth]
        for kind in kinds:
            while True:
                found = self.table[states[-1]].get(kind)
                if found is None:
                    return kind == "$END" and states[-1] == self.end
                action, argument = found
                if action.name == "Shift":
                    states.append(argument)
                    break
                size = len(argument.expansion)
                del states[len(states) - size :]
                goto = self.table[states[-1]].get(argument.origin.name)
                if goto is None:  # the end of the file was accepted
                    return True
                states.append(goto[1])
        return True

    def close(self) -> t.File | None:
        """Return the tree so far, as if all braces ended here."""
        end = len(self.text)
        while (kind := self._ending()) == "RBRACE":
            brace = Token(kind, "}", end, end_pos=end)
            self.parser.parser_state.feed_token(brace)
        if not kind:
            return None
        file: t.File = self.parser.parser_state.feed_token(Token(kind, ""), is_end=True)
        return file

    def _ending(self) -> str:
        """Drop the last values until the file, or a body in it, can end.

        Returns:
            The terminal that ends it; empty if there is none.
        """
        for depth in self._droppable():
            for kind in ("$END", "RBRACE"):
                if self._accepts((kind,), depth):
                    self._drop(depth)
                    return kind
        return ""

    # ---- skipping

    def skip(self, error: UnexpectedInput) -> bool:
        """Skip the rest of the statement; return whether anything follows."""
        at = self._resume_at(error)
        opened = [] if at is not None else self._open_brackets()
        if at is None:
            at = position(error)
        if at is None or at >= len(self.text):
            return False
        for mark in _MARK.finditer(self.text, at):
            kind = mark[0]
            inside = "{" in opened
            if kind == "{" and not inside and self._enter(mark.start()):
                return True
            if kind in "([{":
                opened.append(kind)
            elif kind in _CLOSES and opened and opened[-1] == _CLOSES[kind]:
                opened.pop()
            elif kind == "}" and inside:
                while opened.pop() != "{":
                    pass
            elif kind in "}|;\n" and (kind == "}" or not opened) and self._stop(mark):
                return True
        return False

    def _resume_at(self, error: UnexpectedInput) -> int | None:
        """Return where to continue if the statement ended before the error."""
        lines, at = self.lines, position(error)
        if at is None:
            return None
        token: Token | None = getattr(error, "token", None)
        if lines.breaks(at) or (token is not None and token.type == LINE_END):
            end = lines.last.end_pos or 0 if lines.last else at
            # Braces on the next line most likely belong to this statement.
            brace = _BRACE.match(self.text, end)
            return brace.end() - 1 if brace else end
        unclosed = lines.unclosed(at)
        return unclosed.end_pos if unclosed else None

    def _open_brackets(self) -> list[str]:
        found: list[str] = []
        for token in reversed(self.lines.opened):
            if token.type == "LBRACE":
                break
            found.insert(0, _OPENS[token.type])
        return found

    def _enter(self, at: int) -> bool:
        """Continue inside braces, with a replacement for their unreadable header."""
        for depth in self._droppable():
            for repair in _REPAIRS:
                if self._accepts((*repair, "LBRACE"), depth):
                    self._drop(depth)
                    for kind in repair:
                        token = Token(kind, "_", at, end_pos=at)
                        self.parser.parser_state.feed_token(token)
                    return self._go_on(at)
        return False

    def _stop(self, mark: re.Match[str]) -> bool:
        """Continue after the statement, if it ends here."""
        kind, at = mark[0], mark.start()
        after = at
        if kind in ";\n":
            found = self.line_end.match(self.text, at)
            if found is None:
                return False
            kind, after = "_NL", found.end()
        terminal = {"}": "RBRACE", "|": "VBAR"}.get(kind, kind)
        for depth in self._droppable():
            if self._accepts((terminal,), depth):
                self._drop(depth)
                return self._go_on(at)
        if terminal != "_NL":
            return False
        *_, most = self._droppable()
        self._drop(most)
        return self._go_on(after)

    def _droppable(self) -> Iterator[int]:
        """Yield how many of the last values can be dropped, within the innermost body.

        Braces are dropped as a whole: a body that has ended is not opened again.
        """
        closed = 0
        yield 0
        for depth, value in enumerate(reversed(self.values), 1):
            kind = value.type if isinstance(value, Token) else ""
            closed += (kind == "RBRACE") - (kind == "LBRACE")
            if closed < 0:
                return
            if not closed:
                yield depth

    def _drop(self, depth: int) -> None:
        del self.states[len(self.states) - depth :]
        del self.values[len(self.values) - depth :]

    def _go_on(self, at: int) -> bool:
        self.lines.resume()
        state: Any = self.parser.lexer_thread.state
        state.line_ctr.char_pos = at
        return True
