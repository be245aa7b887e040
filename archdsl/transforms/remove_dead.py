"""What no output needs is taken out."""

from __future__ import annotations

from dataclasses import dataclass

from archdsl.ir import Network
from archdsl.ir.prune import prune
from archdsl.transforms.base import Transformation


@dataclass(frozen=True)
class RemoveDead(Transformation):
    """Take out the layers whose results no output depends on.

    A spec has no such layers, as a result that nothing reads is an error there. They
    come about when outputs go, or when other transformations leave something behind.

    Attributes:
        inference: whether the outputs that only training has go, such as those of
            auxiliary classifiers, and all that serves them alone. What remains is for
            inference.
    """

    inference: bool = False

    def rewrite(self, network: Network) -> Network:
        """Return the network without them."""
        return prune(network, inference=self.inference)
