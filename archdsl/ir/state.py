"""The `state_dict` that a network's module has, computed without torch."""

from __future__ import annotations

from typing import NamedTuple

from archdsl.ir.nodes import Network, Step
from archdsl.ir.registration import in_torch_order
from archdsl.values import Tensor


class Wanted(NamedTuple):
    """A tensor of the network's module.

    Attributes:
        key: its name in `state_dict`.
        tensor: its declaration by its layer.
        step: that layer.
    """

    key: str
    tensor: Tensor
    step: Step

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""
        return tuple([int(size) for size in self.tensor.shape])

    @property
    def counter(self) -> bool:
        """Whether it is a batch norm's counter, which old checkpoints lack."""
        return self.tensor.integer

    @property
    def module(self) -> str:
        """The name of the module that holds it; empty for the network itself."""
        return self.key.rpartition(".")[0]


def wanted(network: Network) -> list[Wanted]:
    """Return all tensors of the network's module, in the order of its `state_dict`."""
    found: dict[str, Wanted] = {}
    for step in network.root.registered_steps():
        for tensor in step.op.tensors(*step.input_shapes):
            key = f"{step.path}.{tensor.name}" if tensor.name else step.path
            found.setdefault(key, Wanted(key, tensor, step))
    return [found[key] for key in in_torch_order(list(found))]
