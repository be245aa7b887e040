"""Removes the parts of a network that none of its outputs needs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from archdsl.ir.nodes import OWNERS, Group, Network, Step, changed, with_root


def prune(network: Network, *, inference: bool = False) -> Network:
    """Return a network without the steps that no output depends on.

    All other parts keep their paths. Claims of the spec are dropped if something goes,
    as they are about another network, and so are initialisations of what is gone.

    Args:
        network: the one to prune; it stays as it is.
        inference: whether outputs of the training mode go, and all that serves them
            alone.
    """
    outputs = [one for one in network.outputs if not (inference and one.training)]
    live = {port.value for port in outputs}
    for step in reversed(list(network.steps())):
        if step.output in live:
            live.update(step.inputs)
    if len(outputs) == len(network.outputs) and all(
        step.output in live for step in network.steps()
    ):
        return network
    root = _Pruner(live).group(network.root)
    return with_root(network, root, outputs)


class _Pruner:
    def __init__(self, live: Collection[int]) -> None:
        self.live = live
        # Parts that exist already, so that a further one shares their weights.
        self.known: set[str] = set()

    def group(self, group: Group) -> Group:
        children: list[Step | Group] = []
        for child in group.children:
            if not self._stays(child):
                continue
            again = self._again(child)
            first = child.shared and not again
            fields: dict[str, Any] = {"shared": False, "alias": ""} if first else {}
            if isinstance(child, Group):
                children.append(changed(self.group(child), **fields))
            else:
                children.append(changed(child, **fields))
        made: dict[str, Any] = {"children": tuple(children)}
        if group.output not in self.live and children:
            # Its output is that of its last part that something reads.
            made |= {"output": children[-1].output, "shape": children[-1].shape}
        if group.role == "repeat" and len(children) != group.count:
            made["count"] = len(children)
        return changed(group, **made)

    def _stays(self, child: Step | Group) -> bool:
        if isinstance(child, Step):
            return child.output in self.live
        steps = [step.output in self.live for step in child.steps()]
        # A group without steps passes its input on.
        return any(steps) if steps else child.input in self.live

    def _again(self, part: Step | Group) -> bool:
        """Return whether a part existed before."""
        if isinstance(part, Group) and part.role not in OWNERS:
            return True
        again = part.path in self.known
        self.known.add(part.path)
        return again
