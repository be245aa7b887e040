"""A cache of syntax trees and parser tables between runs, in the user's cache folder.

A cached tree needs no parser. An entry contains the text that it was made from, and
identifies everything else that determines the tree: the grammar, this package, Python.
Entries are JSON, which can only describe tree nodes and plain data, so a planted file
cannot run code. If anything is wrong with an entry or the folder, the text is parsed as
if there were no cache. ``ARCHDSL_CACHE=off`` turns it off.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Final
from zlib import crc32

# The package imports it anyway; json and hashlib would take milliseconds more.
from pydantic_core import from_json, to_json

from archdsl.resources import grammar_text
from archdsl.source import Source, Span
from archdsl.syntax import tree as t

MAX_ENTRIES: Final = 500
MAX_BYTES: Final = 64 << 20

_MAGIC: Final = b"archdsl tree 1"
_SUFFIX: Final = ".tree"
# The modules that determine the tree of a text.
_MAKERS: Final = ("build", "cache", "lines", "tree")


def load_tree(source: Source) -> t.File | None:
    """Return the stored tree of a text, or None."""
    items = _load(source.text, source)
    return t.File(source, items) if isinstance(items, list) else None


def store_tree(file: t.File) -> None:
    """Store the tree of a text, if the folder can be written."""
    _store(file.source.text, file.items)


def load_tables(name: str) -> Any:
    """Return the stored parser tables with a name, or None."""
    return _load(name, Source("", ""))


def store_tables(name: str, tables: Any) -> None:
    """Store parser tables, which consist of dicts, lists, tuples and scalars."""
    _store(name, tables)


def _load(text: str, source: Source) -> Any:
    path = _path(text)
    if path is None:
        return None
    try:
        maker, stored_for, content = _read(path)
        if maker != _maker() or stored_for != text:
            return None
        return _Reader(source).value(content)
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None


def _store(text: str, content: Any) -> None:
    path = _path(text)
    if path is None:
        return
    folder = os.path.dirname(path)
    partial = f"{path}.{os.getpid()}"
    try:
        payload = to_json([_maker(), text, _plain(content)])
        os.makedirs(folder, mode=0o700, exist_ok=True)
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(handle, "wb") as out:
            out.write(b"%s %08x\n%s" % (_MAGIC, crc32(payload), payload))
        os.replace(partial, path)
        _prune(folder)
    except (OSError, ValueError, RecursionError):
        _remove(partial)


# ---- the folder -------------------------------------------------------------


def _folder() -> str | None:
    """Return the folder of the entries, or None if there is none."""
    if os.environ.get("ARCHDSL_CACHE", "").lower() in ("off", "0", "no"):
        return None
    home = os.path.expanduser("~")
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.join(home, "AppData", "Local")
    elif sys.platform == "darwin":
        base = os.path.join(home, "Library", "Caches")
    else:
        base = os.path.join(home, ".cache")
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(chosen):
        base = chosen
    return os.path.join(base, "archdsl", "trees") if os.path.isabs(base) else None


def _path(text: str) -> str | None:
    """Return the path of a text's entry; several texts may share it."""
    folder = _folder()
    if folder is None:
        return None
    try:
        maker = _maker()
    except OSError:  # this package is not an ordinary folder
        return None
    data = f"{maker}\0{text}".encode("utf-8", "surrogatepass")
    return os.path.join(folder, f"{crc32(data):08x}-{len(data):x}{_SUFFIX}")


_MAKER: list[str] = []


def _maker() -> str:
    """Return a digest of all that determines trees, computed once per process."""
    if not _MAKER:
        data = [sys.version.encode(), grammar_text().encode()]
        folder, suffix = os.path.split(__file__)[0], os.path.splitext(__file__)[1]
        for name in _MAKERS:
            # The version would not do: it stays the same while a checkout is edited.
            with open(os.path.join(folder, name + suffix), "rb") as handle:
                data.append(handle.read())
        _MAKER.append(" ".join(f"{len(d):x}-{crc32(d):08x}" for d in data))
    return _MAKER[0]


def _read(path: str) -> Any:
    """Return an entry's content.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is foreign or damaged.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with open(os.open(path, flags), "rb") as handle:
        status = os.fstat(handle.fileno())
        if hasattr(os, "getuid") and status.st_uid != os.getuid():
            raise ValueError("another user's file")
        if status.st_size > MAX_BYTES:
            raise ValueError("too large")
        head, payload = handle.read().split(b"\n", 1)
    if head != b"%s %08x" % (_MAGIC, crc32(payload)):
        raise ValueError("damaged")
    return from_json(payload)


def _prune(folder: str) -> None:
    """Remove the oldest entries beyond the limits."""
    entries = []
    with os.scandir(folder) as found:
        for entry in found:
            if _SUFFIX in entry.name:
                status = entry.stat(follow_symlinks=False)
                entries.append((status.st_mtime_ns, status.st_size, entry.path))
    entries.sort()
    total = sum(size for _, size, _ in entries)
    excess = len(entries) - MAX_ENTRIES
    for _, size, path in entries:
        if excess <= 0 and total <= MAX_BYTES:
            break
        _remove(path)
        excess -= 1
        total -= size


def _remove(path: str) -> None:
    try:
        os.remove(path)
    except OSError:
        return


# ---- trees as plain data ------------------------------------------------------

_NUMBERS: Final = {node: number for number, node in enumerate(t.SyntaxNode.kinds)}
# Tags of arrays in the data that are not nodes.
_SPAN, _LIST, _TUPLE, _DICT = -1, -2, -3, -4


def _plain(value: Any) -> Any:
    """Return a value as nested arrays that start with a tag."""
    if isinstance(value, Span):
        return [_SPAN, value.start, value.end]
    if isinstance(value, list):
        return [_LIST, *map(_plain, value)]
    if isinstance(value, tuple):
        return [_TUPLE, *map(_plain, value)]
    if isinstance(value, dict):
        return [_DICT, *(_plain(part) for item in value.items() for part in item)]
    if isinstance(value, t.SyntaxNode):
        fields = (_plain(getattr(value, name)) for name in value.fields)
        return [_NUMBERS[type(value)], *fields]
    return value


class _Reader:
    """Makes values from plain data; all nodes are in one source."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def value(self, data: list[Any]) -> Any:
        """Return a value, or raise one of the errors of malformed data."""
        kind = data[0]
        if kind == _SPAN:
            return Span(self.source, data[1], data[2])
        read = self.value
        values = [read(v) if type(v) is list else v for v in data[1:]]
        if kind >= 0:
            made = t.SyntaxNode.kinds[kind]
            node = object.__new__(made)
            node.__dict__.update(zip(made.fields, values, strict=True))
            return node
        if kind == _DICT:
            return dict(zip(values[::2], values[1::2], strict=True))
        return values if kind == _LIST else tuple(values)
