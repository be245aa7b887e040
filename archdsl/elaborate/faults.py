"""Mistakes of the user, and the calls of blocks that lead to them."""

from __future__ import annotations

from archdsl.diagnostics import Diagnostic
from archdsl.source import Span
from archdsl.syntax import tree as t


class Fault(Exception):
    """One mistake of the user; caught by code that can continue without the faulty
    part.
    """

    def __init__(
        self,
        code: str,
        message: str,
        span: Span | None,
        *,
        label: str = "",
        help: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.span = span
        self.label = label
        self.help = help

    def diagnostic(self, notes: tuple[str, ...] = ()) -> Diagnostic:
        """Return the message with the calls that led to it."""
        return Diagnostic(
            self.code,
            self.message,
            self.span,
            label=self.label,
            notes=notes,
            help=self.help,
        )


class BlockCall:
    """One call of a block on the way to a step."""

    __slots__ = ("definition", "path", "span")

    def __init__(self, path: str, span: Span, definition: t.Definition) -> None:
        self.path = path
        self.span = span
        self.definition = definition

    def note(self) -> str:
        """Return ``in layer2.0: bottleneck<128, stride = 2>, line 16``."""
        where = f"line {self.span.line}"
        if self.span.source is not self.definition.span.source:
            where += f" of {self.span.source.name}"
        text = " ".join(self.span.text.split())
        if len(text) > 60:
            text = text[:57] + "..."
        return f"in {self.path}: {text}, {where}"
