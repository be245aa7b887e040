"""Emit modules for layers that would be function calls."""

from __future__ import annotations

from dataclasses import dataclass

from archdsl.ir import Network
from archdsl.ir.rewrite import rewrite
from archdsl.transforms.base import Transformation


@dataclass(frozen=True)
class AsModules(Transformation):
    """Emit a module for each layer for which torch has one, as if it had a label.

    Forward hooks then see activations, pools and dropouts. Some libraries for
    interpretability need that: Captum's DeepLift and guided backpropagation replace the
    gradient of `nn.ReLU`, but cannot replace that of `F.relu`. The state_dict does not
    change, since only layers without weights can be functions.
    """

    def rewrite(self, network: Network) -> Network:
        """Return the network with labels at these layers."""
        named = {
            step.output
            for step in network.steps()
            if not step.labelled and step.form.module is not None
        }
        return rewrite(network, {}, labelled=named) if named else network
