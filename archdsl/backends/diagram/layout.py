"""Lays out dot text, by the system's Graphviz or the engine in pygraphviz."""

from __future__ import annotations

import io
import os
import re
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from shutil import which
from typing import Final

from archdsl.backends.extras import MissingExtra
from archdsl.diagnostics import did_you_mean

TEXT_FORMATS: Final = ("dot", "gv")
FORMATS: Final = (*TEXT_FORMATS, "pdf", "png", "svg")

# The pdfs of two runs only differ in the creation time.
_PDF_DATE = re.compile(rb"(?<=/CreationDate \(D:)\d{14}")


class UnknownFormat(ValueError):
    """A format that no diagram can be written in; the message lists the known ones."""

    def __init__(self, format: str) -> None:
        known = ", ".join(FORMATS)
        hint = did_you_mean(format, FORMATS)
        what = f"unknown format `{format}`" if format else "no format and no suffix"
        super().__init__(f"{what}: known are {known}" + (f"; {hint}" if hint else ""))


def image(source: str, format: str) -> bytes:
    """Return dot text laid out and drawn.

    Args:
        source: the dot text.
        format: one of `FORMATS`.

    Raises:
        MissingExtra: if the format needs a layout engine and there is none.
    """
    if format in TEXT_FORMATS:
        return source.encode()
    return run_engine(source, format)[0]


def run_engine(
    source: str, format: str, engine: str = "dot"
) -> tuple[bytes, list[str]]:
    """Return dot text laid out and drawn, and the engine's warnings.

    Args:
        source: the dot text.
        format: a format of Graphviz, such as `svg`.
        engine: `dot`, or `nop2` for text with positions.

    Raises:
        MissingExtra: if there is no layout engine.
    """
    found = _by_program(source, format, engine) or _by_library(source, format, engine)
    data, said = found
    heard = [line for line in said.splitlines() if _counts(line)]
    return _PDF_DATE.sub(b"19700101000000", data, count=1), heard


def _counts(line: str) -> bool:
    """Return whether a line on stderr is a warning about the drawing."""
    # Graphviz warns that small triangles are too small for their (empty) labels.
    dull = "font" in line.lower() or "size too small for label" in line
    return line.startswith(("Warning:", "Error:")) and not dull


def _by_program(source: str, format: str, engine: str) -> tuple[bytes, str] | None:
    """Return the drawing by the system's `dot`, if it is installed and can do it."""
    program = which("dot")
    if program is None:
        return None
    command = [program, f"-T{format}", f"-K{engine}"]
    try:
        done = subprocess.run(command, input=source.encode(), capture_output=True)
    except OSError:
        return None
    if done.returncode:
        return None
    return done.stdout, done.stderr.decode(errors="replace")


def _by_library(source: str, format: str, engine: str) -> tuple[bytes, str]:
    """Return the drawing by the engine that comes with pygraphviz."""
    with _heard() as said:
        try:
            from pygraphviz import AGraph
        except ImportError:
            raise MissingExtra(
                f"drawing {format}",
                "a layout engine",
                "render",
                ", or install Graphviz, whose `dot` is then used; "
                "dot text needs neither",
            ) from None
        with AGraph(string=source) as graph:
            data = bytes(graph.draw(format=format, prog=engine))
    return data, "".join(said)


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Capture stderr, to which the engine writes comments on fonts and large graphs."""
    said: list[str] = []
    with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            kept = os.dup(2)
        except OSError:  # stderr is closed, so there is nothing to capture
            yield said
            return
        try:
            with tempfile.TemporaryFile() as sink:
                os.dup2(sink.fileno(), 2)
                yield said
                sink.seek(0)
                said.append(sink.read().decode(errors="replace"))
        finally:
            os.dup2(kept, 2)
            os.close(kept)
