"""How results are shown.

A result and its layout belong to different layers of the package. The upper layer
registers a function that shows a class of results, and the lower one looks it up here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_SHOWN: dict[tuple[str, str], Callable[[Any], str | None]] = {}


def shows(name: str, show: Callable[[Any], str | None], how: str = "text") -> None:
    """Register how results of a class are shown; it need not be imported yet.

    Args:
        name: name of the class.
        show: returns the representation of a result, or None to fall back to another.
        how: ``text``, or ``svg`` or ``html`` for a notebook.
    """
    _SHOWN[name, how] = show


def shown(result: object) -> str:
    """Return a result as text; its `repr` if nothing is registered for its class."""
    return shown_as(result, "text") or repr(result)


def shown_as(result: object, how: str) -> str | None:
    """Return a result as text, svg or html; None if nothing is registered."""
    show = _SHOWN.get((type(result).__name__, how))
    return None if show is None else show(result)
