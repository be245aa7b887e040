"""Tables of `archdsl analyze`, one file each.

A view adds columns to the network's layers, and rows of totals below them. It reads
the facts as plain data, as `Analysis.facts` gives them, of which those that it does
not read are not computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Final, Protocol, cast

Facts = Mapping[str, Any]
Total = tuple[str, str, str]

# In the order in which they are printed; the first one unless others are asked for.
VIEWS: Final = ("layers", "costs", "counts", "memory", "fields", "paths", "time")


class View(Protocol):
    """What the module of a view defines.

    Attributes:
        HEADER: names of its columns, which stand right of layer, kind and output.
        RIGHT: which of them have their cells flush right.
    """

    HEADER: tuple[str, ...]
    RIGHT: tuple[int, ...]

    def cells(self, layer: Facts, /) -> tuple[str, ...]:
        """Return the cells of a layer."""

    def group(self, layers: Sequence[Facts], /) -> tuple[str, ...]:
        """Return the cells of a block with these layers."""

    def totals(self, facts: Facts, /) -> list[Total]:
        """Return the network's figures: each a name, a figure and its convention."""


def view(name: str) -> View:
    """Return the view of a name of `VIEWS`."""
    return cast("View", import_module(f"{__name__}.{name}"))
