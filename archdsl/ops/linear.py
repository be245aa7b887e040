"""Fully connected layer."""

from __future__ import annotations

from typing import Any

from archdsl.connected import Connected


class Linear(Connected):
    """Fully connected layer on a vector: `linear 1000`.

    On a map with its channels last it acts on the channels of each position.

    MACs: input features x output features, at each position.
    """

    word = "linear"
    also = ("dense", "fc", "fullyconnected")
    spares_weight = True
    scales = True

    def scaled(self, weight: Any, factors: Any) -> Any:
        """Return the weight, whose output channels come first, times the factors."""
        return weight * factors.reshape(-1, 1)
