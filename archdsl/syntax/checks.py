"""Checks of a text before parsing, and of the depth of a tree."""

from __future__ import annotations

import re
from typing import Any

from archdsl.diagnostics import Diagnostic, SpecError
from archdsl.limits import MAX_DEPTH
from archdsl.source import Source, Span
from archdsl.syntax import tree as t

# Control characters, invisible direction marks, the byte order mark, surrogates.
_FORBIDDEN = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\u200d\u2010-\u2029\u202f-\u2065"
    "\u206a-\ud7ff\ue000-\ufefe\uff00-\U0010ffff]"
)
_LEXEME = re.compile(r'#[^\n]*|"[^"\n]*"|[(\[{]|[)\]}]')
_CLOSES = {")": "(", "]": "[", "}": "{"}


def check_characters(source: Source) -> None:
    """Refuse control characters and invisible direction marks."""
    found = _FORBIDDEN.search(source.text)
    if found:
        message = f"the file has a control character (U+{ord(found[0]):04X})"
        raise _refuse(source, found, "A0006", message, "save it as plain UTF-8 text")


def check_nesting(source: Source) -> None:
    """Refuse unbalanced or too deep brackets, in one scan."""
    stack: list[re.Match[str]] = []
    # Where indentation and brackets first disagree: likely the cause if brackets do
    # not match.
    unclosed: re.Match[str] | None = None
    superfluous: re.Match[str] | None = None
    for match in _LEXEME.finditer(source.text):
        text = match[0]
        if text in "([{":
            stack.append(match)
            if len(stack) > MAX_DEPTH:
                message = f"brackets are nested deeper than {MAX_DEPTH} levels"
                raise _refuse(source, match, "A0902", message)
        elif text in ")]}":
            if not stack or stack[-1][0] != _CLOSES[text]:
                raise _unbalanced(source, superfluous or match, stack)
            opened = stack.pop()
            shift = _shift(source.text, opened, match)
            if shift < 0 and unclosed is None:
                unclosed = opened
            elif shift > 0 and superfluous is None:
                superfluous = match
    if stack:
        found = unclosed or stack[-1]
        message = f"this `{found[0]}` is never closed"
        raise _refuse(source, found, "A0003", message)


def _shift(text: str, opened: re.Match[str], closed: re.Match[str]) -> int:
    """Return how much further a closing brace is indented than its opening line."""
    before = text[text.rfind("\n", 0, closed.start()) + 1 : closed.start()]
    if closed[0] != "}" or before.strip():
        return 0
    line = text[text.rfind("\n", 0, opened.start()) + 1 : opened.start()]
    return len(before) - (len(line) - len(line.lstrip()))


def _unbalanced(
    source: Source, match: re.Match[str], stack: list[re.Match[str]]
) -> SpecError:
    if not stack:
        return _refuse(source, match, "A0004", f"this `{match[0]}` closes nothing")
    opened = Span(source, stack[-1].start(), stack[-1].end())
    message = f"`{match[0]}` does not close the `{stack[-1][0]}` of line {opened.line}"
    return _refuse(source, match, "A0004", message)


def _refuse(
    source: Source,
    match: re.Match[str],
    code: str,
    message: str,
    help: str | None = None,
) -> SpecError:
    span = Span(source, match.start(), match.end())
    return SpecError([Diagnostic(code, message, span, help=help)])


def check_depth(root: t.File | t.Expr) -> None:
    """Refuse a tree that is too deep for recursive passes.

    Operators, `else if` and blocks with arguments nest without brackets.
    """
    stack: list[tuple[Any, int, int]] = [(root, 0, 0)]
    while stack:
        node, blocks, operators = stack.pop()
        if isinstance(node, t.Body):
            blocks += 1
        elif isinstance(node, t.Expr):
            operators += 1
        if blocks > MAX_DEPTH or operators > MAX_DEPTH:
            message = f"this is nested deeper than {MAX_DEPTH} levels"
            raise SpecError([Diagnostic("A0902", message, node.span)])
        if isinstance(node, t.If) and isinstance(node.otherwise, t.If):
            stack.append((node.otherwise, blocks + 1, 0))
            children: tuple[Any, ...] = (node.test, node.body)
        else:
            children = tuple(vars(node).values())
        for value in children:
            if isinstance(value, t.SyntaxNode):
                stack.append((value, blocks, operators))
            elif isinstance(value, list):
                stack += [
                    (v, blocks, operators) for v in value if isinstance(v, t.SyntaxNode)
                ]
