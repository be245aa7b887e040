"""Layers that do nothing are taken out."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from archdsl.ir import Group, Network, Step
from archdsl.ir.rewrite import rewrite
from archdsl.layer import Layer
from archdsl.transforms.base import Transformation, new_identity, numbered


@dataclass(frozen=True)
class RemoveIdentities(Transformation):
    """Take out the layers whose output is their input: `identity`, `dropout 0`.

    In a `seq`, an `identity` takes their place, so that what follows keeps its name.
    What makes the inputs of a block different values stays.

    Attributes:
        inference: whether layers that do something in training alone, such as
            `dropout`, are taken out, too. What remains is for inference.
    """

    inference: bool = False

    def rewrite(self, network: Network) -> Network:
        """Return the network without them."""
        uses: defaultdict[str, list[Step]] = defaultdict(list)
        for step in network.steps():
            uses[step.path].append(step)
        identity, kept = new_identity(), numbered(network)
        given = _given(network.root)
        ops: dict[int, Layer] = {}
        gone: set[int] = set()
        for path, steps in uses.items():
            # A shared layer goes everywhere or nowhere.
            if not all(map(self._does_nothing, steps)):
                continue
            if not given.isdisjoint(step.output for step in steps):
                continue
            if path not in kept:
                gone.update(step.output for step in steps)
            elif steps[0].op != identity:
                ops.update((step.output, identity) for step in steps)
        return rewrite(network, ops, gone) if ops or gone else network

    def _does_nothing(self, step: Step) -> bool:
        if step.op.tensors(*step.input_shapes):
            return False
        if not self.inference:
            return step.op.passes(step.input_shapes, step.shape)
        return step.input_shapes == (step.shape,) and step.op.aliases(False)


def _given(group: Group) -> set[int]:
    """Return the values that blocks with several inputs are given."""
    found = {port.value for port in group.ports}
    for child in group.children:
        if isinstance(child, Group):
            found |= _given(child)
    return found
