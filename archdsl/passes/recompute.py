"""Which parts of a network are recomputed in the backward pass, to keep less."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple, TypeAlias

from archdsl.ir import Group, Role
from archdsl.ir.graph import Graph

# Which parts are recomputed: all, none, or those of some paths.
RecomputeChoice: TypeAlias = bool | Collection[str]


class Part(NamedTuple):
    """A part that is run again as a whole.

    Attributes:
        path: the path of the block or group.
        places: the places of its layers in the graph.
        reads: values from outside that it reads: only these are kept.
    """

    path: str
    places: range
    reads: tuple[int, ...]


def parts(graph: Graph, again: RecomputeChoice = True) -> tuple[Part, ...]:
    """Return the parts of a network that are run again in the backward pass.

    Args:
        graph: the network.
        again: all of `candidates`, none, or those of some paths, however deep; what
            stands inside of another is run again with that.

    Raises:
        ValueError: if there is no such part, or autograd keeps nothing for it.
    """
    if again is True:
        return candidates(graph)
    if not again:
        return ()
    found: list[Part] = []
    able = candidates(graph, nested=True)
    for path in sorted(set(again) - {part.path for part in able}):
        raise ValueError(f"`{path}` is not a block that can be recomputed")
    for part in able:
        inside = found and part.places.start < found[-1].places.stop
        if part.path in again and not inside:
            found.append(part)
    return tuple(found)


def read_again(parts: Iterable[Part]) -> frozenset[int]:
    """Return the values that must stay as they are for parts to be run again."""
    return frozenset(value for part in parts for value in part.reads)


def candidates(graph: Graph, *, nested: bool = False) -> tuple[Part, ...]:
    """Return the parts of a network that the backward pass can run again.

    These are the calls of blocks that stand in no other block: what a person wraps in
    `torch.utils.checkpoint`. A network without any has its named groups instead, such
    as the features and the classifier of VGG. Layers outside are kept as usual, and a
    part for which autograd keeps nothing is not recomputed. Neither is one with a layer
    that would not compute the same again, as `Layer.advances` says.

    Args:
        graph: the network.
        nested: whether those inside of others are returned, too, after these.
    """
    places = {node.output: at for at, node in enumerate(graph.nodes)}
    found = []
    for group in _groups(graph.network.root, nested):
        steps = list(group.steps())
        inside = [places[step.output] for step in steps]
        if inside and not any(step.op.advances for step in steps):
            span = range(inside[0], inside[-1] + 1)
            read = dict.fromkeys(v for at in span for v in graph.nodes[at].inputs)
            outside = [v for v in read if places.get(v, -1) < span.start]
            found.append(Part(group.path, span, tuple(outside)))
    return tuple(found)


def _groups(root: Group, nested: bool) -> tuple[Group, ...]:
    blocks = tuple(_of_role(root, "block", nested))
    return blocks or tuple(_of_role(root, "group", nested))


def _of_role(group: Group, role: Role, nested: bool) -> Iterator[Group]:
    for child in group.children:
        if not isinstance(child, Group):
            continue
        if child.role == role:
            yield child
        if nested or child.role != role:
            yield from _of_role(child, role, nested)
