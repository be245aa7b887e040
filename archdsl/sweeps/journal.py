"""Rows on disk while a sweep runs, so that an interrupted run can continue."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final

from .figures import PointRow

_FORMAT: Final = 2
_START: Final = b'{"format":'

# Messages for differences between a journal and the present run.
_CHANGES: Final[Mapping[str, str]] = {
    "format": "it was written by another version of archdsl",
    "version": "it was written by another version of archdsl",
    "spec": "the spec, or a file that it imports, has changed since",
    "axes": "it belongs to a sweep over other axes",
    "setting": "it belongs to a sweep with other options",
    "points": "it belongs to a sweep of other points",
}


class JournalError(ValueError):
    """A journal from which this run cannot continue; the message says why."""


class Journal:
    """A file of JSON lines: a description of the sweep, followed by chunks of rows.

    Args:
        path: path of the file.
        header: everything that determines the rows of the sweep.
        bounds: number of words for bounds at the start of a row.
        figures: number of figures after them.

    Attributes:
        path: path of the file.
        rows: the rows that it contains, by index among the points.
    """

    def __init__(
        self, path: Path, header: Mapping[str, Any], bounds: int, figures: int
    ) -> None:
        self.path = path
        self._bounds, self._width = bounds, bounds + figures
        self.rows: dict[int, PointRow] = {}
        self._header = {"format": _FORMAT, **header}
        self._file: BinaryIO | None = None

    def __enter__(self) -> Journal:
        """Open the file, with the rows of an earlier run if it exists.

        Raises:
            JournalError: if it belongs to another sweep, or to one that is still
                running.
            OSError: if the file cannot be read or written.
        """
        self._file = self.path.open("a+b")
        try:
            _lock(self._file, self.path)
            self._read(self._file)
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._file is not None
        self._file.close()

    def _read(self, file: BinaryIO) -> None:
        file.seek(0)
        end = 0
        for number, line in enumerate(file):
            entry = _entry(line)
            if entry is None and number == 0 and not _is_cut_header(line):
                raise self._foreign()
            if entry is None:
                break  # the run was killed while writing this line
            if number == 0:
                self._check(entry)
            else:
                self._keep(entry)
            end += len(line)
        file.truncate(end)
        if not end:
            self._write(self._header)

    def _check(self, found: Mapping[str, Any]) -> None:
        for key, value in self._header.items():
            if found.get(key) != value:
                why = _CHANGES.get(key, "it belongs to another sweep")
                raise JournalError(f"cannot continue from {self.path}: {why}")

    def _foreign(self) -> JournalError:
        return JournalError(
            f"cannot continue from {self.path}: it is damaged, or was not written by a "
            "sweep"
        )

    def _keep(self, entry: Mapping[str, Any]) -> None:
        at, rows = entry.get("at"), entry.get("rows")
        if type(at) is not int or not isinstance(rows, list):
            raise self._foreign()
        for place, row in enumerate(rows, at):
            if not isinstance(row, str) and not self._is_row(row):
                raise self._foreign()
            self.rows[place] = row if isinstance(row, str) else tuple(row)

    def _is_row(self, row: object) -> bool:
        return (
            isinstance(row, list)
            and len(row) == self._width
            and all(isinstance(word, str | None) for word in row[: self._bounds])
            and all(isinstance(n, int | float | None) for n in row[self._bounds :])
        )

    def add(self, at: int, rows: Sequence[PointRow]) -> None:
        """Append the rows of consecutive points, starting at an index."""
        self._write({"at": at, "rows": rows})

    def _write(self, entry: Mapping[str, Any]) -> None:
        assert self._file is not None
        line = json.dumps(entry, separators=(",", ":")) + "\n"
        self._file.write(line.encode())
        self._file.flush()


def _is_cut_header(line: bytes) -> bool:
    """Return whether a file's only line may be an incomplete header."""
    return not line.endswith(b"\n") and _START.startswith(line[: len(_START)])


def _entry(line: bytes) -> dict[str, Any] | None:
    """Return the contents of a complete line; None for an incomplete one."""
    if not line.endswith(b"\n"):
        return None
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def _lock(file: BinaryIO, path: Path) -> None:
    """Refuse a journal that another process writes to."""
    if os.name != "posix":
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise JournalError(f"another run is writing to {path}") from None
