"""Tables of `archdsl analyze`, one per file.

A view adds columns to the table of layers, and rows of totals below it. It reads the
figures as plain data, as `Analysis.facts` returns them; figures that it does not read
are not computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple, Protocol, cast

ViewFacts = Mapping[str, Any]
Total = tuple[str, str, str]

# In the order in which they are printed; the first one is the default.
VIEWS: Final = ("layers", "costs", "counts", "memory", "fields", "paths", "time")


class Column(NamedTuple):
    """One column of a view.

    Attributes:
        title: its header.
        short: a shorter header for narrow lines.
        right: whether its cells are right-aligned.
        rank: in narrow lines, columns with the highest rank are left out first, and
            those with rank 0 last.
        moves: whether it depends on a layer's position, so that equal layers can
            differ.
        of_last: whether a block shows the value of its last layer.
        share: the figure of a layer whose share of the total is shown as a bar.
    """

    title: str
    short: str = ""
    right: bool = True
    rank: int = 0
    moves: bool = False
    of_last: bool = False
    share: str = ""


class View(Protocol):
    """The interface of a view's module.

    Attributes:
        COLUMNS: its columns, which follow layer, kind and output.
    """

    COLUMNS: tuple[Column, ...]

    def cells(self, layer: ViewFacts, /) -> tuple[str, ...]:
        """Return the cells of a layer."""

    def group(self, layers: Sequence[ViewFacts], /) -> tuple[str, ...]:
        """Return the cells of a block with these layers."""

    def totals(self, facts: ViewFacts, /) -> list[Total]:
        """Return the network's totals: name, figure and convention of each."""


def view(name: str) -> View:
    """Return the view with a name from `VIEWS`."""
    return cast("View", import_module(f"{__name__}.{name}"))
