"""Source text and positions in it.

A span is a pair of offsets. Line and column are only computed on demand, for printing
an error.
"""

from __future__ import annotations

from bisect import bisect_right


class Source:
    """One file's text with the name under which errors show it."""

    __slots__ = ("_starts", "name", "text")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self._starts: list[int] | None = None

    def position(self, offset: int) -> tuple[int, int]:
        """Return the 1-based (line, column) of an offset."""
        starts = self._line_starts()
        line = bisect_right(starts, offset)
        return line, offset - starts[line - 1] + 1

    def line(self, number: int) -> str:
        """Return the text of a 1-based line, without its end."""
        starts = self._line_starts()
        begin = starts[number - 1]
        end = starts[number] if number < len(starts) else len(self.text)
        return self.text[begin:end].rstrip("\r\n")

    def _line_starts(self) -> list[int]:
        if self._starts is None:
            starts = [0]
            find = self.text.find
            at = find("\n")
            while at >= 0:
                starts.append(at + 1)
                at = find("\n", at + 1)
            self._starts = starts
        return self._starts

    def __getstate__(self) -> tuple[str, str]:
        return self.name, self.text

    def __setstate__(self, state: tuple[str, str]) -> None:
        self.name, self.text = state
        self._starts = None


class Span:
    """A half-open range of offsets in one source."""

    __slots__ = ("end", "source", "start")

    def __init__(self, source: Source, start: int, end: int) -> None:
        self.source = source
        self.start = start
        self.end = end

    @property
    def line(self) -> int:
        """The 1-based line the span starts on."""
        return self.source.position(self.start)[0]

    @property
    def column(self) -> int:
        """The 1-based column the span starts at."""
        return self.source.position(self.start)[1]

    @property
    def text(self) -> str:
        """The source text the span covers."""
        return self.source.text[self.start : self.end]

    def to(self, other: Span) -> Span:
        """Return the span from the start of this one to the end of another."""
        return Span(self.source, self.start, other.end)

    def __repr__(self) -> str:
        line, column = self.source.position(self.start)
        return f"{self.source.name}:{line}:{column}"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Span)
            and self.start == other.start
            and self.end == other.end
            and self.source.name == other.source.name
        )

    def __hash__(self) -> int:
        return hash((self.source.name, self.start, self.end))
