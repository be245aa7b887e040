"""Loads files and their imports, without leaving the spec's folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from archdsl.diagnostics import Diagnostic, Diagnostics, SpecError, did_you_mean
from archdsl.limits import MAX_FILE_BYTES, MAX_IMPORTS
from archdsl.resources import specs_dir
from archdsl.source import Source, Span
from archdsl.syntax import tree as t
from archdsl.syntax.parser import parse

LANGUAGE_VERSION = "1"

Shared = t.Definition | t.FunctionDef | t.OpDef


class LoadedFile:
    """One file with the definitions visible in it.

    Attributes:
        file: its syntax tree.
        path: its path; None for text that is not from a file.
        own: its own definitions, by name.
        imported: imported definitions, by name.
        functions: known functions, by name, with the file of each.
        ops: known foreign layer kinds, by name, with the file of each.
    """

    def __init__(self, file: t.File, path: Path | None) -> None:
        self.file = file
        self.path = path
        self.own: dict[str, t.Definition] = {}
        self.imported: dict[str, tuple[t.Definition, LoadedFile]] = {}
        self.functions: dict[str, tuple[t.FunctionDef, LoadedFile]] = {}
        self.ops: dict[str, tuple[t.OpDef, LoadedFile]] = {}

    @cached_property
    def networks(self) -> dict[str, t.Definition]:
        """The networks that it defines, by name."""
        return {name: each for name, each in self.own.items() if each.is_network}

    @cached_property
    def presets(self) -> dict[str, t.Preset]:
        """Its presets, by name."""
        return {preset.name: preset for preset in self.file.presets()}

    def find(self, name: str) -> tuple[t.Definition, LoadedFile] | None:
        """Return the block or network with a name, and the file that defines it."""
        if name in self.own:
            return self.own[name], self
        return self.imported.get(name)

    def names(self) -> list[str]:
        """Return the names of all definitions visible here."""
        return [*self.own, *self.imported, *self.ops]

    def shared(self) -> tuple[Mapping[str, tuple[Shared, LoadedFile]], ...]:
        """Return the definitions that other files can import, each with its file."""
        return self.imported, self.functions, self.ops

    def files(self) -> list[t.File]:
        """Return the trees of this file and of all imports, each once."""
        found: dict[int, LoadedFile] = {}
        stack: list[LoadedFile] = [self]
        while stack:
            module = stack.pop()
            if id(module) not in found:
                found[id(module)] = module
                stack += [m for part in module.shared() for _, m in part.values()]
        return [module.file for module in found.values()]

    def defines(self, name: str) -> bool:
        """Return whether a name is taken in this file."""
        return (
            name in self.own
            or name in self.imported
            or name in self.functions
            or name in self.ops
        )


def read_source(path: Path, shown: str | None = None) -> Source:
    """Read a file as UTF-8.

    Raises:
        SpecError: if it cannot be read, is too large, or is not text.
    """
    shown = shown or str(path)
    return decode(shown, read_bytes(path, shown, MAX_FILE_BYTES))


def read_bytes(path: Path, shown: str, most: int) -> bytes:
    """Read a regular file of limited size.

    Raises:
        SpecError: if it cannot be read, or has more bytes.
    """
    try:
        info = os.stat(path)
        # Reading a pipe or device could block or never end.
        if not stat.S_ISREG(info.st_mode):
            raise _no_file(shown, info.st_mode)
        if info.st_size > most:
            raise file_too_large(shown, most)
        with open(path, "rb") as handle:
            data = handle.read(most + 1)
    except OSError as error:
        reason = error.strerror or "it cannot be read"
        raise SpecError([Diagnostic("A0501", f"{shown}: {reason.lower()}")]) from None
    if len(data) > most:
        raise file_too_large(shown, most)
    return data


def _no_file(shown: str, mode: int) -> SpecError:
    if stat.S_ISDIR(mode):
        return SpecError([Diagnostic("A0501", f"{shown} is a folder, not a spec")])
    help = "`-` reads the spec from standard input"
    return SpecError([Diagnostic("A0501", f"{shown} is not a regular file", help=help)])


def decode(shown: str, data: bytes) -> Source:
    """Return the text of a spec's bytes.

    Raises:
        SpecError: if they are too many, or not UTF-8.
    """
    if len(data) > MAX_FILE_BYTES:
        raise file_too_large(shown)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"{shown} is not UTF-8 text (byte {error.start}, line {line})"
        raise SpecError(
            [Diagnostic("A0005", message, help="save it as UTF-8")]
        ) from None
    return Source(shown, text)


def file_too_large(shown: str, most: int = MAX_FILE_BYTES) -> SpecError:
    """Return the error for a file beyond the limit."""
    message = f"{shown} is larger than {most:,} bytes"
    return SpecError([Diagnostic("A0901", message)])


class Loader:
    """Loads one spec and, once each, the files it imports."""

    def __init__(
        self, root: Path | None, known: Mapping[Path, LoadedFile] | None = None
    ) -> None:
        self.root = root.resolve() if root else None
        self.errors = Diagnostics()
        self._modules: dict[Path, LoadedFile] = dict(known or {})
        self._loading: list[Path] = []

    def load(self, source: Source, path: Path | None) -> LoadedFile:
        """Parse a source and everything that it imports.

        Raises:
            SpecError: with all errors in the files' syntax and imports.
        """
        module = self._module(source, path)
        self.errors.raise_if_any()
        return module

    def load_partial(
        self, file: t.File, path: Path | None
    ) -> tuple[LoadedFile, list[Diagnostic]]:
        """Load what a tree imports, as far as that is possible.

        Returns:
            The file with the definitions that were found, and the errors.
        """
        module = LoadedFile(file, path)
        failed: list[Diagnostic] = []
        self._begin(module)
        for item in file.items:
            if isinstance(item, t.Import):
                try:
                    self._import(module, item)
                except SpecError as error:
                    failed += error.diagnostics
        return module, [*self.errors.found, *failed]

    @property
    def modules(self) -> Mapping[Path, LoadedFile]:
        """The files that were loaded, by path."""
        return self._modules

    def _module(self, source: Source, path: Path | None) -> LoadedFile:
        module = LoadedFile(parse(source), path)
        self._begin(module)
        for item in module.file.items:
            if isinstance(item, t.Import):
                self._import(module, item)
        if path:
            self._loading.pop()
        return module

    def _begin(self, module: LoadedFile) -> None:
        """Record the definitions of a file."""
        if module.path:
            self._modules[module.path] = module
            self._loading.append(module.path)
        self._check_version(module.file)
        for item in module.file.items:
            if isinstance(item, t.Definition | t.FunctionDef | t.OpDef):
                self._define(module, item)

    def _define(
        self, module: LoadedFile, item: t.Definition | t.FunctionDef | t.OpDef
    ) -> None:
        if module.defines(item.name):
            self._twice(module, item.name, item.span)
        elif isinstance(item, t.Definition):
            module.own[item.name] = item
        elif isinstance(item, t.FunctionDef):
            module.functions[item.name] = item, module
        else:
            module.ops[item.name] = item, module

    def _check_version(self, file: t.File) -> None:
        first = file.items[0] if file.items else None
        for item in file.items[1:]:
            if isinstance(item, t.Version):
                self._error(
                    "A0007", "the version is stated once, on the first line", item.span
                )
        if not isinstance(first, t.Version):
            at = Span(file.source, 0, max(1, len(file.source.line(1))))
            self._error(
                "A0007",
                "the first line must name the language version",
                at,
                help=f"write `arch {LANGUAGE_VERSION}` before everything else",
            )
        elif first.number != LANGUAGE_VERSION:
            self._error(
                "A0007",
                f"language version {first.number} is unknown",
                first.span,
                help=f"this archdsl reads `arch {LANGUAGE_VERSION}`",
            )

    def _import(self, module: LoadedFile, item: t.Import) -> None:
        target = self._target(module, item)
        if target is None:
            return
        found = self._modules.get(target)
        if found is None:
            if len(self._modules) > MAX_IMPORTS:
                message = f"more than {MAX_IMPORTS} files are imported"
                raise SpecError([Diagnostic("A0905", message, item.span)])
            found = self._module(read_source(target, self._shown(target)), target)
        for name, span in item.names:
            if module.defines(name):
                self._twice(module, name, span)
            elif not _take(module, found, name):
                self._cannot_import(found, item, name, span)

    def _twice(self, module: LoadedFile, name: str, span: Span) -> None:
        found = [
            *([module.own[name]] if name in module.own else []),
            *(known[name][0] for known in module.shared() if name in known),
        ]
        first = found[0].span
        here = first.source is span.source
        self._error(
            "A0101",
            f"`{name}` is defined twice",
            span,
            label=f"it stands on line {first.line}, too"
            if here
            else f"it comes from {first.source.name}, too",
            help="give one of them another name",
        )

    def _cannot_import(
        self, found: LoadedFile, item: t.Import, name: str, span: Span
    ) -> None:
        if name in found.own:
            message = f"`{name}` of {item.origin} is a network, and cannot be imported"
            self._error(
                "A0504", message, span, help="import the blocks that it consists of"
            )
            return
        blocks = [d.name for d in found.own.values() if not d.is_network]
        self._error(
            "A0504",
            f"{item.origin} defines no block, function or op `{name}`",
            span,
            help=did_you_mean(name, [*blocks, *found.functions, *found.ops]),
        )

    def _shown(self, path: Path) -> str:
        try:
            return os.path.relpath(path)
        except ValueError:
            return str(path)

    def _target(self, module: LoadedFile, item: t.Import) -> Path | None:
        """Return the file that an import names; if there is none, report it."""
        if not item.is_path:
            path = specs_dir() / "std" / f"{item.origin}.arch"
            if path.is_file():
                return path
            known = [p.stem for p in (specs_dir() / "std").glob("*.arch")]
            self._error(
                "A0501",
                f"there is no library `{item.origin}`",
                item.origin_span,
                help=did_you_mean(item.origin, known)
                or f"the libraries are {', '.join(sorted(known))}; files are quoted",
            )
            return None
        if module.path is None or self.root is None:
            self._error(
                "A0502",
                "a spec that is not a file cannot import files",
                item.origin_span,
            )
            return None
        try:
            return self._file(module.path.parent, item)
        except (OSError, RuntimeError, ValueError):  # too long, or a circular link
            self._error("A0501", "this is not the path of a file", item.origin_span)
            return None

    def _file(self, folder: Path, item: t.Import) -> Path | None:
        assert self.root is not None
        path = (folder / item.origin).resolve()
        if not path.is_relative_to(self.root) or os.path.isabs(item.origin):
            self._error(
                "A0502",
                f'"{item.origin}" is outside the spec\'s folder',
                item.origin_span,
                help="imports must be in the spec's folder or below it",
            )
        elif path in self._loading:
            circle = [*self._loading[self._loading.index(path) :], path]
            shown = (p.relative_to(self.root).as_posix() for p in circle)
            self._error(
                "A0503",
                "the imports form a circle",
                item.origin_span,
                label=" -> ".join(shown),
                help="move what both files need into a third one",
            )
        elif path.is_dir():
            self._error(
                "A0501",
                f'"{item.origin}" is a folder, not a spec',
                item.origin_span,
                help="name one of its files",
            )
        elif not path.is_file():
            near = [
                p.relative_to(folder).as_posix() for p in path.parent.glob("*.arch")
            ]
            self._error(
                "A0501",
                f'there is no file "{item.origin}"',
                item.origin_span,
                help=did_you_mean(item.origin, near),
            )
        else:
            return path
        return None

    def _error(
        self,
        code: str,
        message: str,
        span: Span,
        label: str = "",
        help: str | None = None,
    ) -> None:
        self.errors.add(Diagnostic(code, message, span, label=label, help=help))


def _take(module: LoadedFile, found: LoadedFile, name: str) -> bool:
    """Make a definition of another file visible here, if it can be shared."""
    definition = found.own.get(name)
    if definition is not None and not definition.is_network:
        module.imported[name] = definition, found
    elif name in found.functions and found.functions[name][1] is found:
        module.functions[name] = found.functions[name]
    elif name in found.ops and found.ops[name][1] is found:
        module.ops[name] = found.ops[name]
    else:
        return False
    return True


def load_file(path: Path) -> LoadedFile:
    """Load a spec from a file; its imports stay in its folder."""
    source = read_source(path)
    path = path.resolve()
    return Loader(path.parent).load(source, path)


def load_text(text: str, name: str = "<text>") -> LoadedFile:
    """Load a spec from text; it can import the library, but no files."""
    return Loader(None).load(Source(name, text), None)


def load_prelude() -> LoadedFile:
    """Load the library whose blocks need no import."""
    path = specs_dir() / "std" / "prelude.arch"
    return Loader(path.parent).load(read_source(path, "std/prelude.arch"), path)
