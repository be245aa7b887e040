"""A network in a file: its graph, its weights, and another way to run it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from archdsl.backends.importer.graph import ImportGraph

if TYPE_CHECKING:
    from torch import Tensor


class Malformed(Exception):
    """A file that cannot be read as a network; the message says why."""


class NetworkFile(NamedTuple):
    """A network in a file.

    Attributes:
        graph: what it computes.
        state: its weights by key.
        run: returns its outputs for a state and inputs, by an engine of the file's own
            kind.
        engine: what that engine is called.
        exact: whether the engine can be asked for equality, as it computes what torch
            does; else it sums in another order.
    """

    graph: ImportGraph
    state: Mapping[str, Tensor]
    run: Callable[[Mapping[str, Tensor], Sequence[Tensor]], list[Tensor]]
    engine: str = "torch's own operations"
    exact: bool = True


# Each random draw of two networks that are compared starts from it.
SEED = 20
