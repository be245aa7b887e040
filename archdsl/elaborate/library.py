"""The library of blocks that need no import."""

from __future__ import annotations

from archdsl.syntax.loader import Module, load_prelude

_LOADED: list[Module] = []


def prelude() -> Module:
    """Return the prelude, which is read once per process."""
    if not _LOADED:
        _LOADED.append(load_prelude())
    return _LOADED[0]
