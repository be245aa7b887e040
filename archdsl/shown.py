"""How values show themselves in a notebook."""

from __future__ import annotations

from importlib import import_module
from typing import cast


def shown(value: object, how: str) -> str | None:
    """Return what a notebook shows of a value; None leaves that to its `repr`.

    Args:
        value: a network or an analysis.
        how: ``svg`` or ``html``.
    """
    # By its name, as what draws and lays out stands above what is drawn.
    show = getattr(import_module("archdsl.notebook"), how)
    return cast("str | None", show(value))
