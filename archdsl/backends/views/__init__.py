"""Tables of `archdsl analyze`, one per file.

A view adds columns to the table of layers, and rows of totals below it. It reads the
figures as plain data, as `Analysis.facts` returns them; figures that it does not read
are not computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple, Protocol, cast

Facts = Mapping[str, Any]
Total = tuple[str, str, str]

# In the order in which they are printed; the first one is the default.
VIEWS: Final = ("layers", "costs", "counts", "memory", "fields", "paths", "time")


class Column(NamedTuple):
    """One column of a view.

    Attributes:
        title: its header.
        short: another one, where lines are short.
        right: whether its cells end, rather than begin, at one place.
        rank: where lines are short, columns of the highest rank are left out first,
            and those of rank 0 last.
        moves: whether it says where a layer stands, so that equal layers may differ.
        of_last: whether a block has there what its last layer has.
        share: of which of a layer's facts a bar shows its share in the whole.
    """

    title: str
    short: str = ""
    right: bool = True
    rank: int = 0
    moves: bool = False
    of_last: bool = False
    share: str = ""


class View(Protocol):
    """What the module of a view defines.

    Attributes:
        COLUMNS: its columns, which stand right of layer, kind and output.
    """

    COLUMNS: tuple[Column, ...]

    def cells(self, layer: Facts, /) -> tuple[str, ...]:
        """Return the cells of a layer."""

    def group(self, layers: Sequence[Facts], /) -> tuple[str, ...]:
        """Return the cells of a block with these layers."""

    def totals(self, facts: Facts, /) -> list[Total]:
        """Return the network's figures: each a name, a figure and its convention."""


def view(name: str) -> View:
    """Return the view of a name of `VIEWS`."""
    return cast("View", import_module(f"{__name__}.{name}"))
