"""The `state_dict` that a network's module has, computed without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from archdsl.ir.nodes import Network, Step
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
    for step in network.steps():
        for tensor in step.op.tensors(*step.input_shapes):
            key = f"{step.path}.{tensor.name}" if tensor.name else step.path
            found.setdefault(key, Wanted(key, tensor, step))
    return _in_order(list(found.values()), 0)


def _in_order(tensors: Sequence[Wanted], start: int) -> list[Wanted]:
    """Return tensors in torch's order: a module's own, then its children's in turn.

    Args:
        tensors: those of one module and of all below it.
        start: where in their keys the names of these begin.
    """
    own: list[Wanted] = []
    children: dict[str, list[Wanted]] = {}
    for one in tensors:
        dot = one.key.find(".", start)
        if dot < 0:
            own.append(one)
        else:
            children.setdefault(one.key[start:dot], []).append(one)
    for name, inside in children.items():
        own += _in_order(inside, start + len(name) + 1)
    return own
