"""Which parts of a network are run again in the backward pass, to keep less."""

from __future__ import annotations

from collections.abc import Iterator

from archdsl.ir import Group

from .graph import Graph


def regions(graph: Graph) -> tuple[range, ...]:
    """Return the places of the nodes of each part that is run again as a whole.

    These are the calls of blocks that stand in no other block: what a person wraps in
    `torch.utils.checkpoint`. A network without any has its named groups instead, such
    as the features and the classifier of VGG. What stands outside is kept as ever.
    """
    places = {node.output: at for at, node in enumerate(graph.nodes)}
    found = []
    for group in recomputed(graph.network.root):
        inside = [places[step.output] for step in group.steps()]
        if inside:
            found.append(range(inside[0], inside[-1] + 1))
    return tuple(found)


def recomputed(root: Group) -> tuple[Group, ...]:
    """Return the groups of a network that are run again; see `regions`."""
    return tuple(_outermost(root, "block")) or tuple(_outermost(root, "group"))


def _outermost(group: Group, role: str) -> Iterator[Group]:
    for child in group.children:
        if not isinstance(child, Group):
            continue
        if child.role == role:
            yield child
        else:
            yield from _outermost(child, role)
