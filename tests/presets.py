"""The shipped presets, each loaded and compiled once per worker.

Networks are never changed, so all tests can share them. Together they take about 100
MB.
"""

from __future__ import annotations

from functools import cache

from torch import nn

import archdsl
from archdsl.backends.torch.modules import module_of, network_class


@cache
def network(preset: str, *, symbolic: bool = True) -> archdsl.Network:
    """Return the network of a preset, with its own parameters and input."""
    return archdsl.load(preset, symbolic=symbolic)


@cache
def emitted(preset: str) -> str:
    """Return the text of its module."""
    return archdsl.emit(network(preset))


def built(preset: str) -> nn.Module:
    """Return its module, freshly initialised, as `archdsl.build` makes it."""
    made: nn.Module = network_class(module_of(emitted(preset), network(preset).name))()
    return made
