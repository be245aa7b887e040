"""Errors in specs.

A user's mistake is a `Diagnostic`. Diagnostics are collected in `Diagnostics` and
raised together as a `SpecError`. A bug in archdsl stays an ordinary exception.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from .source import Span

MAX_REPORTED = 50
MAX_TEXT = 1_000


class Diagnostic:
    """One message: a stable code, a place, what was found, and what to do.

    Attributes:
        code: stable identifier, such as ``A0301``; `archdsl explain` describes it.
        message: one factual sentence that can be understood alone.
        span: the place in the source, or None if there is none.
        label: what was found there, printed next to the caret.
        notes: further facts, such as the block calls that led to the place.
        later: computes one more note, if that takes time; called once, when all are
            shown.
        help: what to do about it, or None.
        severity: ``error``, or ``warning`` for advice.
    """

    __slots__ = (
        "_notes",
        "code",
        "help",
        "label",
        "later",
        "message",
        "severity",
        "span",
    )

    def __init__(
        self,
        code: str,
        message: str,
        span: Span | None = None,
        *,
        label: str = "",
        notes: Sequence[str] = (),
        help: str | None = None,
        severity: str = "error",
    ) -> None:
        self.code = code
        self.severity = severity
        self.message = _short(message)
        self.span = span
        self.label = _short(label)
        self._notes = tuple(_short(note) for note in notes)
        self.later: Callable[[], str] | None = None
        self.help = None if help is None else _short(help)

    def __repr__(self) -> str:
        code = f" {self.code}" if self.code else ""
        place = f" at {self.span!r}" if self.span is not None else ""
        return f"<Diagnostic{code}{place}: {self.message}>"

    def __str__(self) -> str:
        return self.render()

    @property
    def notes(self) -> tuple[str, ...]:
        """The further facts."""
        find, self.later = self.later, None
        if find is not None and (note := find()):
            self._notes = (*self._notes, _short(note))
        return self._notes

    @property
    def is_limit(self) -> bool:
        """Whether the spec exceeds a limit (exit status 4)."""
        return self.code.startswith("A09")

    def as_dict(self) -> dict[str, object]:
        """Return the diagnostic as plain data, as `--json` prints it."""
        span = self.span
        return {
            "code": self.code or None,
            "message": self.message,
            **place(span),
            "label": self.label or None,
            "notes": list(self.notes),
            "help": self.help,
        }

    def render(self, color: bool = False) -> str:
        """Return the message as text, with the source line and a caret."""
        bold, red, blue, off = (
            ("\033[1m", "\033[1;31m", "\033[1;34m", "\033[0m") if color else ("",) * 4
        )
        if color and self.severity == "warning":
            red = "\033[1;33m"
        head = f"{red}{self.severity}[{self.code}]{off}"
        out = [f"{head}{bold}: {self.message}{off}"]
        margin = " "
        if self.span is not None:
            line, column = self.span.source.position(self.span.start)
            margin = " " * len(str(line))
            out.append(
                f"{margin}{blue}-->{off} {self.span.source.name}:{line}:{column}"
            )
            text, caret_at, width = _excerpt(self.span, line, column)
            out.append(f"{margin} {blue}|{off}")
            out.append(f"{blue}{line} |{off} {text}")
            carets = " " * caret_at + red + "^" * width + off
            label = f" {red}{self.label}{off}" if self.label else ""
            out.append(f"{margin} {blue}|{off} {carets}{label}")
        out.extend(f"{margin} {blue}={off} {note}" for note in self.notes)
        if self.help:
            out.append(f"{margin} {blue}={off} {bold}help{off}: {self.help}")
        return "\n".join(out)


def _short(text: str) -> str:
    """Shorten a text with very long names, and remove invisible characters."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() or c == "\n" else " " for c in text)
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 3]}..."


def _excerpt(span: Span, line: int, column: int) -> tuple[str, int, int]:
    """Return the line to show, where the caret starts in it, and its width."""
    text = span.source.line(line)
    at = column - 1
    if len(text) > 120:
        begin = max(0, at - 40)
        text = text[begin : begin + 100]
        at -= begin
    width = max(1, min(span.end - span.start, len(text) - at))
    return "".join(c if c.isprintable() else " " for c in text), at, width


def place(span: Span | None) -> dict[str, object]:
    """Return a place as plain data: its file, first character, and end.

    The end is the position after the last character, so an empty place ends where it
    starts. Without a place, all are None.
    """
    if span is None:
        return dict.fromkeys(("file", "line", "column", "end_line", "end_column"))
    end_line, end_column = span.source.position(min(span.end, len(span.source.text)))
    return {
        "file": span.source.name,
        "line": span.line,
        "column": span.column,
        "end_line": end_line,
        "end_column": end_column,
    }


class SpecError(Exception):
    """A spec with errors, with all diagnostics that were found.

    Attributes:
        diagnostics: in the order of the source, at least one.
    """

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = sorted(diagnostics, key=_in_order)
        super().__init__(self.diagnostics)

    def __str__(self) -> str:
        return "\n\n".join(d.render() for d in self.diagnostics)

    @property
    def is_limit(self) -> bool:
        """Whether a limit was exceeded (exit status 4 instead of 1)."""
        return any(d.is_limit for d in self.diagnostics)


def _in_order(diagnostic: Diagnostic) -> tuple[str, int]:
    span = diagnostic.span
    return (span.source.name, span.start) if span else ("", 0)


class Diagnostics:
    """Collects messages; each one is only kept once per place and code."""

    def __init__(self) -> None:
        self.found: list[Diagnostic] = []
        self._seen: set[tuple[str, Span | None]] = set()

    def add(self, diagnostic: Diagnostic) -> None:
        """Keep a message, unless there is one with this code at the same place."""
        key = diagnostic.code, diagnostic.span
        if key in self._seen:
            return
        self._seen.add(key)
        self.found.append(diagnostic)
        if len(self.found) >= MAX_REPORTED:
            raise SpecError(self.found)

    def knows(self, code: str, span: Span | None) -> bool:
        """Return whether there is a message with this code at this place."""
        return (code, span) in self._seen

    def raise_if_any(self) -> None:
        """Raise `SpecError` with all messages, if there are any."""
        if self.found:
            raise SpecError(self.found)


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """Return ``did you mean `maxpool`?`` for a near miss, else None."""
    from difflib import get_close_matches

    names = sorted(set(known))
    close = get_close_matches(word, names, n=1, cutoff=0.6) or get_close_matches(
        word.lower(), names, n=1, cutoff=0.6
    )
    return f"did you mean `{close[0]}`?" if close else None
