"""Removes the parts of a network that none of its outputs needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from archdsl.ir.nodes import OWNERS, Group, Network, Port, Step, changed, with_root


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
    live = _needed(network, outputs)
    if len(outputs) == len(network.outputs) and all(
        step.output in live for step in network.steps()
    ):
        return network
    root = _Pruner(live, _read(network, outputs, live)).group(network.root)
    return with_root(network, root, outputs)


def _needed(network: Network, outputs: Sequence[Port]) -> set[int]:
    """Return the values that some outputs are computed from.

    All uses of a part with several outputs need the same of it, as they share a class.
    """
    live = {port.value for port in outputs}
    steps = list(network.steps())
    uses = [group for group in _uses(network.root).values() if group[0].extras]
    columns = [[*zip(*(g.steps() for g in one), strict=True)] for one in uses]
    size = -1
    while size < len(live):
        size = len(live)
        for step in reversed(steps):
            if step.output in live:
                live.update(step.inputs)
        for one in columns:
            used = {
                place
                for same in one
                for place, step in enumerate(same)
                if step.output in live
            }
            for same in one:
                if any(step.output in live for step in same):
                    live.update(same[place].output for place in used)
    return live


def _uses(root: Group) -> dict[str, list[Group]]:
    """Return the parts that are used more than once, by their paths."""
    found: dict[str, list[Group]] = {}
    stack = [root]
    while stack:
        group = stack.pop()
        if group.role in OWNERS:
            found.setdefault(group.path, []).append(group)
        stack += [child for child in group.children if isinstance(child, Group)]
    return {path: uses for path, uses in found.items() if len(uses) > 1}


def _read(
    network: Network, outputs: Sequence[Port], live: Collection[int]
) -> set[tuple[str, str]]:
    """Return the further outputs of parts that something outside reads, each by the
    path of the part and its name.
    """
    reads = Counter([port.value for port in outputs])
    for step in network.steps():
        reads.update(step.inputs if step.output in live else ())
    found: set[tuple[str, str]] = set()
    stack = [network.root]
    while stack:
        group = stack.pop()
        stack += [child for child in group.children if isinstance(child, Group)]
        if group.extras:
            steps = [step for step in group.steps() if step.output in live]
            inside = Counter([value for step in steps for value in step.inputs])
            found.update(
                (group.path, port.name)
                for port in group.extras
                if reads[port.value] > inside[port.value]
            )
    return found


class _Pruner:
    def __init__(
        self, live: Collection[int], read: Collection[tuple[str, str]]
    ) -> None:
        self.live = live
        self.read = read
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
        extras = [p for p in group.extras if (group.path, p.name) in self.read]
        made: dict[str, Any] = {"children": tuple(children), "extras": tuple(extras)}
        if group.output not in self.live and extras:
            main = extras[0]
            made |= {"output": main.value, "shape": main.shape}
            made["extras"] = tuple(extras[1:])
        elif group.output not in self.live and children:
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
