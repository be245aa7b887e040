"""Remove layers that do nothing."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from archdsl.ir import Group, Network, Step
from archdsl.ir.rewrite import rewrite
from archdsl.layer import Layer
from archdsl.transforms.base import Transformation, new_identity, numbered


@dataclass(frozen=True)
class RemoveIdentities(Transformation):
    """Remove the layers whose output is their input: `identity`, `dropout 0`.

    In a `seq`, an `identity` takes their place, so that later layers keep their names.
    A layer stays if its output is one of several inputs of a block, since two of the
    inputs could be the same value without it. Unless the network is for inference, a
    layer also stays if it does something in another call of the same block, such as a
    `stochasticdepth` whose probability is 0 in one call only; so one class still serves
    all calls.

    Attributes:
        inference: whether layers that only do something in training, such as `dropout`,
            are removed, too. The network is then for inference.
    """

    inference: bool = False

    def rewrite(self, network: Network) -> Network:
        """Return the network without these layers."""
        uses: defaultdict[str, list[Step]] = defaultdict(list)
        for step in network.steps():
            uses[step.path].append(step)
        identity, kept = new_identity(), numbered(network)
        given = _given(network.root)
        at_work = set() if self.inference else self._at_work(network.root)
        ops: dict[int, Layer] = {}
        gone: set[int] = set()
        for path, steps in uses.items():
            # A shared layer is removed in all places or in none.
            if not all(map(self._does_nothing, steps)) or path in at_work:
                continue
            if not given.isdisjoint(step.output for step in steps):
                continue
            if path not in kept:
                gone.update(step.output for step in steps)
            elif steps[0].op != identity:
                ops.update((step.output, identity) for step in steps)
        return rewrite(network, ops, gone) if ops or gone else network

    def _at_work(self, root: Group) -> set[str]:
        """Return the paths of steps that do something in some call of their block."""
        paths: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        busy: set[tuple[str, str]] = set()
        stack: list[tuple[Group, Group]] = [(root, root)]
        while stack:
            group, owner = stack.pop()
            for child in group.children:
                if isinstance(child, Group):
                    stack.append((child, child if child.role == "block" else owner))
                    continue
                own = child.path.removeprefix(f"{owner.path}.")
                key = owner.origin or owner.word, own
                paths[key].add(child.path)
                if not self._does_nothing(child):
                    busy.add(key)
        return set().union(*(paths[key] for key in busy))

    def _does_nothing(self, step: Step) -> bool:
        if step.op.tensors(*step.input_shapes):
            return False
        if step.op.passes(step.input_shapes, step.shape):
            return True
        unchanged = step.input_shapes == (step.shape,) and step.op.aliases(False)
        return self.inference and unchanged


def _given(group: Group) -> set[int]:
    """Return the inputs and outputs of parts that have several of them."""
    found = {port.value for port in group.ports}
    found.update(group.outputs if group.extras else ())
    for child in group.children:
        if isinstance(child, Group):
            found |= _given(child)
    return found
