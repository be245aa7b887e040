"""Printing: results to stdout, everything else to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, TextIO

from click import ClickException, UsageError

from . import status

if TYPE_CHECKING:
    from archdsl.diagnostics import Diagnostic

SCHEMA = 1
_WIDTH = 78
# Narrower tables are useless, and no real terminal has fewer columns.
_NARROWEST = 20
_BAR = 24
# Seconds between two updates of the progress meter.
_PAUSE = 0.1


class Failure(ClickException):
    """An error that ends a command and has no place in a spec.

    Attributes:
        status: exit status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def without_torch(error: ImportError | OSError, needs: str) -> Failure:
    """Return the failure to report if PyTorch cannot be imported.

    Args:
        error: the error of the import.
        needs: what needs PyTorch, with the verb: ``gradients need``.

    Raises:
        ImportError: the error itself, if it has another cause.
        OSError: likewise.
    """
    from traceback import walk_tb

    if isinstance(error, ImportError) and error.name == "torch":
        message = f'{needs} PyTorch: pip install "archdsl[torch]"'
        return Failure(message, status.MISSING_EXTRA)
    frames = [frame.f_globals for frame, _ in walk_tb(error.__traceback__)]
    started = any(names.get("__name__") == "torch" for names in frames)
    # If torch is in `sys.modules`, its import succeeded, and the error is another one.
    if not started or "torch" in sys.modules:
        raise error
    message = f"{needs} PyTorch, and the one that is installed is broken: {error}"
    return Failure(message, status.MISSING_EXTRA)


def wants_color(stream: TextIO) -> bool:
    """Return whether a stream is a terminal, and colours are not turned off."""
    return (
        stream.isatty()
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM") != "dumb"
    )


def fit_width(width: int | None, stream: TextIO) -> int | None:
    """Return the number of columns to fit output into; None for no limit.

    Args:
        width: the value of --width, if given; 0 for no limit.
        stream: the stream; if it is a terminal, its width is the default.
    """
    if width is not None:
        return width or None
    if not stream.isatty():
        return None
    from shutil import get_terminal_size

    return max(get_terminal_size().columns, _NARROWEST)


def bars(stream: TextIO) -> str:
    """Return the characters for bars on a stream: blocks, or ``#``."""
    try:
        "\u258f".encode(stream.encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return "#"
    return "\u258f"


def say(text: str) -> None:
    """Print a line to stderr."""
    print(text, file=sys.stderr)


def print_json(value: dict[str, object]) -> None:
    """Print a result as JSON, with the version of its schema first.

    Each key is on a line of its own, and so is each item of a list of records.
    """
    from json import dumps

    keys = []
    for key, part in {"schema": SCHEMA, **value}.items():
        text = dumps(part, ensure_ascii=False)
        if isinstance(part, list) and part and isinstance(part[0], dict):
            items = (dumps(item, ensure_ascii=False) for item in part)
            text = "[\n    " + ",\n    ".join(items) + "\n  ]"
        keys.append(f'  "{key}": {text}')
    print("{\n" + ",\n".join(keys) + "\n}")


def fail(diagnostics: Sequence[Diagnostic], *, as_json: bool = False) -> int:
    """Print errors in specs, and return the exit status.

    Args:
        diagnostics: at least one.
        as_json: print them to stdout as JSON instead of to stderr as text.
    """
    if as_json:
        print_json({"errors": [d.as_dict() for d in diagnostics]})
    else:
        say_diagnostics(diagnostics)
    return status_of(diagnostics)


def fail_without_place(error: ClickException, *, as_json: bool = False) -> int:
    """Print an error in the command line or the environment.

    Args:
        error: the error, which is always printed to stderr.
        as_json: also print it to stdout as JSON, unless the command line is wrong: then
            it is not certain that JSON was requested.
    """
    from archdsl.diagnostics import Diagnostic

    if isinstance(error, UsageError):
        error.show()
        return error.exit_code
    say(f"archdsl: {error.format_message()}")
    if as_json:
        print_json({"errors": [Diagnostic("", error.format_message()).as_dict()]})
    return error.status if isinstance(error, Failure) else error.exit_code


def say_diagnostics(diagnostics: Sequence[Diagnostic]) -> None:
    """Print diagnostics to stderr, followed by their number."""
    color = wants_color(sys.stderr)
    for diagnostic in diagnostics:
        say(diagnostic.render(color) + "\n")
    say(counted(len(diagnostics), "error"))


def status_of(diagnostics: Sequence[Diagnostic]) -> int:
    """Return the exit status for diagnostics."""
    if any(d.is_limit for d in diagnostics):
        return status.LIMIT
    return status.SPEC_ERRORS if diagnostics else status.OK


def print_diff(name: str, old: str, new: str, what: str) -> None:
    """Print a unified diff of two texts to stdout, with a title for the new one."""
    from difflib import unified_diff

    lines = unified_diff(
        old.splitlines(keepends=True),
        new.splitlines(keepends=True),
        name,
        f"{name} ({what})",
    )
    for line in lines:
        sys.stdout.write(line if line.endswith("\n") else f"{line}\n\\ No newline\n")


def counted(number: int, word: str) -> str:
    """Return ``1 error`` or ``2 errors``."""
    return f"{number} {word}" + ("s" if number != 1 else "")


class Progress:
    """A line on a terminal's stderr that shows the current step.

    Prints nothing if stderr is not a terminal. Leaving the context removes the line.
    """

    def __init__(self, total: int, *, always: bool = False) -> None:
        self.total = total
        self.done = 0
        self.shown = sys.stderr.isatty() and (total > 1 or always)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._print("")
        if self.shown:
            print(end="\r", file=sys.stderr, flush=True)

    def step(self, name: str) -> None:
        """Show the next step."""
        self.done += 1
        self.note(name)

    def note(self, name: str) -> None:
        """Show the current part of the step."""
        self._print(f"{self.done}/{self.total} {name}")

    def _print(self, line: str) -> None:
        if self.shown:
            _overwrite(line)


class Meter:
    """A line on a terminal's stderr that shows the progress and speed of a long run.

    Prints nothing if stderr is not a terminal.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.shown = sys.stderr.isatty()
        self._began = self._last = monotonic()
        self._first: int | None = None

    def __call__(self, done: int, more: str = "") -> None:
        """Show the progress.

        Args:
            done: number of items done, including those of an earlier run.
            more: text to show after it.
        """
        now = monotonic()
        if self._first is None:
            self._first = done
        elif not self.shown or now - self._last < _PAUSE:
            return
        self._last = now
        fresh, spent = done - self._first, now - self._began
        text = f"{done:,}/{self.total:,}"
        if fresh and spent:
            rate = fresh / spent
            left = (self.total - done) / rate
            text += f"  {rate:,.0f}/s  {_clock(left)} left"
        self._print(
            "  ".join(filter(None, (f"[{_bar(done, self.total)}] {text}", more)))
        )

    def end(self) -> None:
        """Remove the line."""
        self._print("")
        if self.shown:
            print(end="\r", file=sys.stderr, flush=True)

    def _print(self, line: str) -> None:
        if self.shown:
            _overwrite(line)


def _overwrite(line: str) -> None:
    """Print a line over the last one; a wrapped line could not be removed again."""
    width = max(1, min(_WIDTH, _columns() - 1))
    print(f"\r{line[:width]:{width}}", end="", file=sys.stderr, flush=True)


def _columns() -> int:
    """Return the width of stderr's terminal, since stdout may be a pipe."""
    from shutil import get_terminal_size

    with suppress(OSError):
        if columns := os.get_terminal_size(sys.stderr.fileno()).columns:
            return columns
    return get_terminal_size().columns


def _bar(done: int, total: int) -> str:
    full = _BAR * done // total if total else _BAR
    return "#" * full + "-" * (_BAR - full)


def _clock(seconds: float) -> str:
    """Return ``0:42`` or ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
