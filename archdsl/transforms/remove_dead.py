"""Remove layers that no output needs."""

from __future__ import annotations

from dataclasses import dataclass

from archdsl.ir import Network
from archdsl.ir.prune import prune
from archdsl.transforms.base import Transformation


@dataclass(frozen=True)
class RemoveDead(Transformation):
    """Remove the layers whose results no output depends on.

    A spec has no such layers, since a result that nothing reads is an error. They arise
    when outputs are removed, or are left behind by other transformations.

    Attributes:
        inference: whether outputs of the training mode, such as those of auxiliary
            classifiers, and all layers that only they need are removed. The network is
            then for inference.
    """

    inference: bool = False

    def rewrite(self, network: Network) -> Network:
        """Return the network without these layers."""
        return prune(network, inference=self.inference)
