"""Fits tables to a width: which columns are rounded, shortened or left out, in which
order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from textwrap import wrap
from typing import Final

_GAP: Final = 2
# Widths of a bar in cells, the narrowest last.
_BARS: Final = (8, 5, 3, 0)
# A column of text is not cut below this while others can still be left out.
_LEAST_TEXT: Final = 12
# It is not cut below this to make room for bars.
_FAIR_TEXT: Final = 15
_LEAST_NAME: Final = 16
_LONG_NUMBER: Final = re.compile(r"[+-]?\d{1,3}(,\d{3})+")


@dataclass
class FittedColumn:
    """One column, in full and as it is shown.

    Attributes:
        title: its header.
        cells: the cells of its rows.
        short: a shorter header, if the cells leave less room.
        called: its name in the note if it is left out, if it has no title.
        right: whether its cells are right-aligned.
        rank: the larger, the sooner it is left out; 0 for never.
        shares: for a bar next to each cell, its share of the total; None for no bar.
        limit: the width that it is cut to, if any.
        is_short: whether it has its short header.
    """

    title: str
    cells: list[str]
    short: str = ""
    called: str = ""
    right: bool = False
    rank: int = 0
    shares: list[float | None] = field(default_factory=list)
    limit: int | None = None
    is_short: bool = False

    @property
    def header(self) -> str:
        """The title, or the short one."""
        return self.short if self.is_short else self.title

    @property
    def natural(self) -> int:
        """The width of its cells and title."""
        return max(len(self.header), *map(len, self.cells), 0)

    @property
    def width(self) -> int:
        """The width in which it is shown."""
        natural = self.natural
        return natural if self.limit is None else min(self.limit, natural)


class FittedTable:
    """Columns side by side.

    Attributes:
        columns: the columns that are shown.
        bar: width of each bar in cells.
        left_out: titles of the columns that are left out.
        rounded: whether numbers are rounded.
        cut: whether texts are cut.
    """

    def __init__(self, columns: Sequence[FittedColumn]) -> None:
        self.columns = list(columns)
        self.bar = _BARS[0] if any(column.shares for column in columns) else 0
        self.left_out: list[str] = []
        self.rounded = False
        self.cut = False

    @property
    def width(self) -> int:
        """Characters of the widest line."""
        bars = sum(self.bar + 1 for c in self.columns if c.shares) if self.bar else 0
        gaps = _GAP * (len(self.columns) - 1)
        return sum(column.width for column in self.columns) + gaps + bars

    def fit(self, width: int) -> None:
        """Fit the columns to a width, at the least loss of information."""
        for step in self._steps():
            if self.width <= width:
                return
            step(width)

    def _steps(self) -> Iterator[Callable[[int], None]]:
        """Yield ways to narrow columns, in order; each is called with the width."""
        name, *others = self.columns
        yield lambda _: self._draw(_BARS[1])
        yield lambda _: self._round()
        yield lambda _: self._shorten_titles()
        yield lambda _: self._draw(_BARS[2])
        for least in (_FAIR_TEXT, _LEAST_TEXT):
            for column in reversed(others):
                if not column.right:
                    yield partial(self._cut, column, least)
            yield lambda _: self._draw(_BARS[3])
        for column in sorted(others, key=lambda c: c.rank, reverse=True):
            if column.rank:
                yield partial(self._leave_out, column)
        yield partial(self._cut, name, _LEAST_NAME)
        for column in reversed(others):
            yield partial(self._leave_out, column)
        yield partial(self._cut, name, 1)

    def _draw(self, cells: int) -> None:
        self.bar = min(self.bar, cells)

    def _round(self) -> None:
        for column in self.columns:
            if column.right:
                short = [_rounded(cell) for cell in column.cells]
                self.rounded = self.rounded or short != column.cells
                column.cells = short

    def _shorten_titles(self) -> None:
        for column in self.columns:
            column.is_short = bool(column.short)

    def _cut(self, column: FittedColumn, least: int, width: int) -> None:
        if column not in self.columns:
            return
        excess = self.width - width
        limit = max(least, column.width - excess)
        if limit < column.width:
            column.limit = limit
            self.cut = True

    def _leave_out(self, column: FittedColumn, _: int) -> None:
        if column in self.columns:
            self.columns.remove(column)
            if name := column.title or column.called:
                self.left_out.append(name)

    def lines(self, bar: Callable[[float, int], str]) -> list[str]:
        """Return the header and the rows.

        Args:
            bar: draws a share in a number of cells.
        """
        columns = [self._texts_of(column, bar) for column in self.columns]
        gap = " " * _GAP
        return [gap.join(cells).rstrip() for cells in zip(*columns, strict=True)]

    def _texts_of(
        self, column: FittedColumn, bar: Callable[[float, int], str]
    ) -> Iterator[str]:
        width, side = column.width, ">" if column.right else "<"
        drawn = self.bar if column.shares else 0
        yield f"{_cut(column.header, width):{side}{width}}" + " " * (
            drawn and drawn + 1
        )
        shares = column.shares or [None] * len(column.cells)
        for cell, share in zip(column.cells, shares, strict=True):
            text = f"{_cut(cell, width):{side}{width}}"
            if drawn:
                text += " " + (" " * drawn if share is None else bar(share, drawn))
            yield text


def _cut(text: str, width: int) -> str:
    """Return a text that fits, with two dots in place of omitted words."""
    if len(text) <= width:
        return text
    if width <= 4:
        return text[:width]
    kept = text[: width - 1]
    # A truncated number would be a different number.
    whole = kept.rpartition(" ")[0].rstrip()
    # A sign such as `+` is useless without part of the name after it.
    says = any(map(str.isalnum, whole))
    return f"{whole if says else text[: width - 2]}.."[:width]


def _rounded(cell: str) -> str:
    """Return a long number with four digits: ``118.0M``; other texts are unchanged."""
    if len(cell) < 7 or not _LONG_NUMBER.fullmatch(cell):
        return cell
    sign, digits = (cell[0], cell[1:]) if cell[0] in "+-" else ("", cell)
    number = float(digits.replace(",", ""))
    power = next(at for at in range(1, 6) if number < 999.95 * 1000**at or at == 5)
    number /= 1000**power
    decimals = max(0, 4 - len(str(int(number))))
    return f"{sign}{number:.{decimals}f}{' KMGTP'[power]}"


def note(sheets: Sequence[FittedTable], width: int) -> str:
    """Return a note on what was done to fit a width, empty if nothing was."""
    said = ["numbers are rounded"] * any(sheet.rounded for sheet in sheets)
    said += ["texts are cut"] * any(sheet.cut for sheet in sheets)
    left_out = dict.fromkeys(name for sheet in sheets for name in sheet.left_out)
    if left_out:
        said.append(f"{', '.join(left_out)} left out")
    done = ", ".join(said)
    return f"To fit {width} columns: {done}. --width 0 shows all." if done else ""


def wrapped(text: str, width: int | None, indent: str = "") -> list[str]:
    """Return a text wrapped to a width, with all lines but the first indented."""
    return [text] if width is None else wrap(text, width, subsequent_indent=indent)
