"""The library of blocks that need no import."""

from __future__ import annotations

from archdsl.syntax.loader import LoadedFile, load_prelude

_LOADED: list[LoadedFile] = []


def prelude() -> LoadedFile:
    """Return the prelude, which is read once per process."""
    if not _LOADED:
        _LOADED.append(load_prelude())
    return _LOADED[0]
