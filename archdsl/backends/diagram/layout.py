"""Dot text as a file: by the system's Graphviz, or by the engine in pygraphviz."""

from __future__ import annotations

import io
import os
import re
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from shutil import which
from typing import Final

from archdsl.diagnostics import Diagnostic, SpecError, did_you_mean
from archdsl.files import write
from archdsl.ir import Network
from archdsl.limits import MAX_DRAWN

from .dot import dot_of
from .picture import picture

TEXT_FORMATS: Final = ("dot", "gv")
FORMATS: Final = (*TEXT_FORMATS, "pdf", "png", "svg")

# When a pdf was made is the only thing in it that differs between two runs.
_PDF_DATE = re.compile(rb"(?<=/CreationDate \(D:)\d{14}")


class MissingExtra(Exception):
    """Something that is not installed is needed; the message says what to install."""


class UnknownFormat(ValueError):
    """A format that no diagram can be written in; the message lists the known ones."""

    def __init__(self, format: str) -> None:
        known = ", ".join(FORMATS)
        hint = did_you_mean(format, FORMATS)
        what = f"unknown format `{format}`" if format else "no format and no suffix"
        super().__init__(f"{what}: known are {known}" + (f"; {hint}" if hint else ""))


def render(
    network: Network,
    path: Path | str | None = None,
    *,
    format: str | None = None,
    fold: bool = True,
) -> str:
    """Draw a network, and return the drawing's dot text.

    Args:
        network: what to draw.
        path: the file to write, if any; it is written whole or not at all.
        format: one of `FORMATS`; the suffix of `path` tells it when left out.
        fold: draw equal consecutive copies once, and a chain's steps as one node.

    Raises:
        MissingExtra: if the format needs a layout engine and there is none.
        UnknownFormat: if there is no such format.
        SpecError: if it is too large for a layout engine.
        OSError: if the file cannot be written.
    """
    if format is None and path is not None:
        format = Path(path).suffix.removeprefix(".")
    if format is not None and format.lower() not in FORMATS:
        raise UnknownFormat(format)
    drawn = picture(network, fold=fold)
    if format is not None and format.lower() not in TEXT_FORMATS:
        rows = drawn.rows_crossed()
        if rows > MAX_DRAWN:
            raise SpecError([_too_large(network, rows, fold)])
    source = dot_of(network, drawn)
    if path is not None and format is not None:
        write(Path(path), image(source, format.lower()))
    return source


def _too_large(network: Network, rows: int, fold: bool) -> Diagnostic:
    way = "" if fold else "fold it, "
    return Diagnostic(
        "A0910",
        f"the picture of {network.name} is too large to be laid out: its arrows cross "
        f"{rows:,} rows, and {MAX_DRAWN:,} take an engine some seconds",
        network.root.span,
        label="drawn here",
        help=f"{way}draw a part of it as a network, or write `--format dot`",
    )


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
    data = _by_program(source, format) or _by_library(source, format)
    return _PDF_DATE.sub(b"19700101000000", data, count=1)


def _by_program(source: str, format: str) -> bytes | None:
    """Return the drawing by the system's `dot`, if that is there and can do it."""
    program = which("dot")
    if program is None:
        return None
    command = [program, f"-T{format}"]
    try:
        done = subprocess.run(command, input=source.encode(), capture_output=True)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def _by_library(source: str, format: str) -> bytes:
    """Return the drawing by the engine that comes with pygraphviz."""
    with _silence():
        try:
            from pygraphviz import AGraph
        except ImportError:
            raise MissingExtra(
                f"drawing {format} needs a layout engine: pip install "
                '"archdsl[render]", or install Graphviz, whose `dot` is then used; '
                "dot text needs neither"
            ) from None
        with AGraph(string=source) as graph:
            return bytes(graph.draw(format=format, prog="dot"))


@contextmanager
def _silence() -> Iterator[None]:
    """Drop what is said on stderr: the engine comments on fonts and large graphs."""
    with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            kept = os.dup(2)
        except OSError:  # closed, so that nobody hears it anyway
            yield
            return
        try:
            with open(os.devnull, "wb") as sink:
                os.dup2(sink.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
