"""How results show themselves as text.

What a result is and how it is laid out belong to different layers of the package. The
upper one says here what it can show, and the lower one asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_SHOWN: dict[str, Callable[[Any], str]] = {}


def shows(name: str, show: Callable[[Any], str]) -> None:
    """Say how all results of a class are shown, which need not be imported yet."""
    _SHOWN[name] = show


def shown(result: object) -> str:
    """Return a result as text; in short if nothing else is known of its class."""
    return _SHOWN.get(type(result).__name__, repr)(result)
