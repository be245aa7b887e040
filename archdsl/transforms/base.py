"""The base class of transformations, and what several of them need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from archdsl.ir import OWNERS, Group, Network, Step
from archdsl.ir.rewrite import rewrite
from archdsl.ir.verify import verify
from archdsl.layer import Layer, kind
from archdsl.transforms.recipe import TensorOrigin, as_before, followed


@dataclass(frozen=True)
class Transformation:
    """A way to make one network from another; its fields are its options.

    Parts that remain keep their paths, and so their keys in checkpoints.
    """

    def apply(self, network: Network) -> Network:
        """Return the transformed network; the given one is not changed.

        Raises:
            archdsl.ir.verify.InvalidNetwork: if the result is not a valid network,
            which is a bug in the transformation.
        """
        made = self.rewrite(network)
        return made if made is network else verify(made)

    def rewrite(self, network: Network) -> Network:
        """Return the transformed network, not yet verified."""
        raise NotImplementedError

    def recipe(self, network: Network) -> dict[str, TensorOrigin]:
        """Return from which old tensors each tensor of the transformed network comes.

        Args:
            network: the network before it is transformed.
        """
        return as_before(self.rewrite(network))

    def weights(self, network: Network, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return the `state_dict` of the transformed network.

        New tensors are computed in double precision, and rounded once. Tensors that the
        state does not have, such as those that only training needs, are left out.

        Args:
            network: the network before it is transformed.
            state: its `state_dict`, of torch tensors or NumPy arrays, which is not
                changed.

        Raises:
            KeyError: if the state has one tensor of a layer whose weights change, but
                not all.
        """
        return followed(self.recipe(network), state)


def new_identity() -> Layer:
    """Return a layer that does nothing, for a place that cannot be empty."""
    identity = kind("identity")
    assert identity is not None
    return identity()


def without_layers(
    network: Network, steps: Iterable[Step], ops: Mapping[int, Layer]
) -> Network:
    """Return a network without some layers, whose readers read their input instead.

    In a `seq`, an `identity` takes its place, so that what follows keeps its name.

    Args:
        network: the network; it is not changed.
        steps: the layers to remove, each with one input.
        ops: replacements of other layers, by the value that the layer outputs.
    """
    kept, made = numbered(network), dict(ops)
    gone: set[int] = set()
    for step in steps:
        if step.path in kept:
            made[step.output] = new_identity()
        else:
            gone.add(step.output)
    return rewrite(network, made, gone) if made or gone else network


def numbered(network: Network) -> set[str]:
    """Return the paths of the steps that are named by number, as parts of a seq.

    They cannot be removed, as the names of later parts would change.
    """
    return {step.path for step in _in_seqs(network.root, False)}


def _in_seqs(group: Group, indexed: bool) -> Iterator[Step]:
    if group.role in OWNERS:
        indexed = group.indexed
    for child in group.children:
        if isinstance(child, Group):
            yield from _in_seqs(child, indexed)
        elif indexed:
            yield child


def plain(value: Any) -> Any:
    """Return a value, with plain numbers instead of those that carry expressions."""
    if isinstance(value, bool) or not isinstance(value, int | tuple):
        return value
    if isinstance(value, int):
        return int(value)
    return type(value)(plain(part) for part in value)
