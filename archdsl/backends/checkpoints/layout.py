"""The `state_dict` that a network wants, worked out without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from archdsl.ir import Network, Step


class Wanted(NamedTuple):
    """A tensor of the network's module.

    Attributes:
        key: its name in `state_dict`.
        shape: its sizes.
        counter: whether it is a batch norm's counter, which old checkpoints lack.
        step: the layer that owns it.
    """

    key: str
    shape: tuple[int, ...]
    counter: bool
    step: Step

    @property
    def module(self) -> str:
        """The name of the module that holds it; empty for the network itself."""
        return self.key.rpartition(".")[0]

    @property
    def elements(self) -> int:
        """The number of its elements."""
        product = 1
        for size in self.shape:
            product *= size
        return product


def wanted(network: Network) -> list[Wanted]:
    """Return all tensors of the network's module, in the order of its `state_dict`."""
    found: dict[str, Wanted] = {}
    for step in network.steps():
        for tensor in step.op.tensors(*step.input_shapes):
            key = f"{step.path}.{tensor.name}" if tensor.name else step.path
            shape = tuple([int(size) for size in tensor.shape])
            found.setdefault(key, Wanted(key, shape, tensor.integer, step))
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
