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
        graph: the computation.
        state: its weights by key.
        run: returns its outputs for a state and inputs, computed by an engine for the
            file's format.
        engine: the name of that engine.
        exact: whether the engine is torch itself, so that outputs must be equal; other
            engines sum in a different order.
    """

    graph: ImportGraph
    state: Mapping[str, Tensor]
    run: Callable[[Mapping[str, Tensor], Sequence[Tensor]], list[Tensor]]
    engine: str = "torch's own operations"
    exact: bool = True


# The seed of every random function when two networks are compared.
SEED = 20
