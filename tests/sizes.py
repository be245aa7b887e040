"""A limit on the size of random networks, so that they run in milliseconds.

A few merges in a few calls of a block can multiply channels enormously.
"""

from __future__ import annotations

from math import prod
from typing import Final

import archdsl
from archdsl.values import sizes

MOST_ELEMENTS: Final = 1_000_000
MOST_PRODUCTS: Final = 50_000_000


def runs_quickly(network: archdsl.Network) -> bool:
    """Return whether a network has small tensors and little work."""
    elements = products = 0
    for step in network.steps():
        # As plain numbers, since expressions of their sums could become too long.
        weights = sum(t.elements for t in step.op.tensors(*step.input_shapes))
        elements += weights + prod(map(int, step.shape))
        products += weights * prod(map(int, sizes(step.shape)))
    return elements <= MOST_ELEMENTS and products <= MOST_PRODUCTS
