"""Which parts of a network are recomputed in the backward pass, to keep less."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from archdsl.ir import Group, Role

from .graph import Graph


class Part(NamedTuple):
    """A part that is run again as a whole.

    Attributes:
        path: of the block or group.
        places: of its layers in the graph.
        reads: values it reads that it does not make: all that is kept of it.
    """

    path: str
    places: range
    reads: tuple[int, ...]


def parts(graph: Graph) -> tuple[Part, ...]:
    """Return the parts of a network that are run again in the backward pass.

    These are the calls of blocks that stand in no other block: what a person wraps in
    `torch.utils.checkpoint`. A network without any has its named groups instead, such
    as the features and the classifier of VGG. What stands outside is kept as ever, and
    a part of which autograd keeps nothing is not one.
    """
    places = {node.output: at for at, node in enumerate(graph.nodes)}
    found = []
    for group in _groups(graph.network.root):
        inside = [places[step.output] for step in group.steps()]
        if inside:
            span = range(inside[0], inside[-1] + 1)
            read = dict.fromkeys(v for at in span for v in graph.nodes[at].inputs)
            outside = [v for v in read if places.get(v, -1) < span.start]
            found.append(Part(group.path, span, tuple(outside)))
    return tuple(found)


def _groups(root: Group) -> tuple[Group, ...]:
    return tuple(_outermost(root, "block")) or tuple(_outermost(root, "group"))


def _outermost(group: Group, role: Role) -> Iterator[Group]:
    for child in group.children:
        if not isinstance(child, Group):
            continue
        if child.role == role:
            yield child
        else:
            yield from _outermost(child, role)
