"""A spec in an editor, and the questions that can be asked about it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from archdsl.diagnostics import Diagnostic
from archdsl.editor import complete, hover, outline
from archdsl.editor.places import trail, word_at
from archdsl.editor.resolve import Referent, resolve
from archdsl.elaborate import Attempt, attempt
from archdsl.elaborate.library import prelude
from archdsl.ir import Group, Step
from archdsl.source import Source, Span
from archdsl.syntax import tree as t
from archdsl.syntax.loader import LoadedFile, Loader
from archdsl.syntax.parser import parse_partial


class Target(NamedTuple):
    """Where something is defined.

    Attributes:
        path: the file; None if it is the document itself, and not from a file.
        span: the place in it.
    """

    path: Path | None
    span: Span


class Hover(NamedTuple):
    """What is shown for a place.

    Attributes:
        span: the text that it describes.
        text: in Markdown.
    """

    span: Span
    text: str


class Document:
    """A spec in an editor. The text may be incomplete or wrong.

    Attributes:
        text: the text.
        path: its file; if None, it can only import libraries.
        preset: the preset or network whose values and shapes are shown; None for the
            file's default.
    """

    def __init__(
        self, text: str, path: Path | None = None, *, preset: str | None = None
    ) -> None:
        self.text, self.preset = text, preset
        self.path = path.resolve() if path else None
        self.source = Source(str(path) if path else "<text>", text)
        self._imported: dict[Path, tuple[int, LoadedFile]] = {}

    def edited(self, text: str, *, preset: str | None = None) -> Document:
        """Return the document with another text.

        The files that it imports are read again only if they have changed.

        Args:
            text: the whole new text.
            preset: the preset to show from now on; None for the same as before.
        """
        new = Document(text, self.path, preset=preset or self.preset)
        new._imported = self._imported
        return new

    def offset(self, line: int, column: int) -> int:
        """Return the offset of a line and column, both from 1, as in error messages.

        A column beyond the end of its line means the end.
        """
        start = 0
        for _ in range(line - 1):
            end = self.text.find("\n", start)
            if end < 0:
                break
            start = end + 1
        end = self.text.find("\n", start)
        length = (end if end >= 0 else len(self.text)) - start
        return start + max(0, min(column - 1, length))

    # ---- parsing and loading

    @cached_property
    def _read(self) -> tuple[t.File, Sequence[Diagnostic]]:
        return parse_partial(self.source)

    @cached_property
    def _loaded(self) -> tuple[LoadedFile, Sequence[Diagnostic]]:
        return self._load(self.tree)

    def _load(self, tree: t.File) -> tuple[LoadedFile, Sequence[Diagnostic]]:
        """Load what a tree imports; unchanged files are taken from memory."""
        kept = {
            at: m for at, (stamp, m) in self._imported.items() if stamp == _stamp(at)
        }
        loader = Loader(self.path.parent if self.path else None, kept)
        found = loader.load_partial(tree, self.path)
        self._imported |= {
            at: (_stamp(at), module)
            for at, module in loader.modules.items()
            if at != self.path
        }
        return found

    @property
    def tree(self) -> t.File:
        """The syntax tree, without the parts that cannot be parsed."""
        return self._read[0]

    @property
    def module(self) -> LoadedFile:
        """The definitions that are visible in it."""
        return self._loaded[0]

    # ---- questions

    @cached_property
    def diagnostics(self) -> Sequence[Diagnostic]:
        """All mistakes in the text, in the files it imports, and in the shown network.

        While there are syntax errors, only those and mistakes in imports are reported.
        """
        return [*self._read[1], *self._loaded[1]] or self.attempt.diagnostics

    @cached_property
    def attempt(self) -> Attempt:
        """The shown network, as far as it could be built."""
        return attempt(self.module, preset=self.preset, symbolic=False)

    @cached_property
    def made(self) -> Mapping[tuple[int, int], Sequence[Step | Group]]:
        """The parts that text makes in the shown network, by its start and end."""
        found: dict[tuple[int, int], list[Step | Group]] = defaultdict(list)
        shown = self.attempt
        top = [shown.network.root] if shown.network else shown.parts
        seen = set()
        for node in _below(top):
            seen.add(id(node))
            if node.span.source is self.source:
                found[node.span.start, node.span.end].append(node)
        # Steps of unfinished parts are not in a group yet.
        for step in shown.steps:
            if id(step) not in seen and step.span.source is self.source:
                found[step.span.start, step.span.end].append(step)
        return found

    def symbols(self) -> list[outline.Symbol]:
        """Return the outline: definitions and presets, with names and labels."""
        return outline.outline(self.tree)

    def definition(self, offset: int) -> Target | None:
        """Return where the name at a place is defined; None if there is no name.

        Layer kinds and functions of the language are not defined in specs.
        """
        found = self._resolve(offset)
        if found is None or found.span is None:
            return None
        path = found.module.path if found.module is not None else self.path
        return Target(path, found.span)

    def hover(self, offset: int) -> Hover | None:
        """Return what to show for a place; None if there is nothing.

        For layers, it is shapes, parameters and MACs in the shown network; for blocks,
        parameters and comment; for names, values.
        """
        around, found = trail(self.tree, offset), self._resolve(offset)
        text = hover.hover_text(self.attempt, self.made, around, found)
        if not text:
            return None
        step = around[-1] if around and isinstance(around[-1], t.ChainStep) else None
        word = word_at(self.source, offset)
        return Hover(step.span if found is None and step else word, text)

    def completions(self, offset: int) -> list[complete.Completion]:
        """Return what can be written at a place, after the part of a word before it."""
        known = complete.Known(lambda tree: self._load(tree)[0], lambda: self.made)
        return complete.completions(self.source, offset, known)

    def _resolve(self, offset: int) -> Referent | None:
        around, word = trail(self.tree, offset), word_at(self.source, offset)
        library = prelude()
        return resolve(self.tree, self.module, library, around, word, lambda: self.made)


def _stamp(path: Path) -> int:
    """Return a value that changes when a file is written."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _below(nodes: Sequence[Step | Group]) -> Iterator[Step | Group]:
    stack = [*reversed(nodes)]
    while stack:
        node = stack.pop()
        yield node
        if isinstance(node, Group):
            stack.extend(reversed(node.children))
