"""Detects networks that can be drawn as a U: down to small maps, and back up next to
it.
"""

from __future__ import annotations

from archdsl.layer import count
from archdsl.values import is_map, show_shape, sizes

from .picture import Box, Closed, Edge, Picture, PictureNode, path_of

# With fewer arrows across, a picture is not drawn as a U.
_PAIRS = 2


def bottom(drawn: Picture) -> int | None:
    """Return the index of the node at the bottom of the U, if the picture can be one.

    The bottom is the last node of the first run of nodes with the smallest maps. Arrows
    pair the nodes before it with those after it: the first on the way down with the
    last on the way up.
    """
    found = bottom_or_reason(drawn)
    return found if isinstance(found, int) else None


def bottom_or_reason(drawn: Picture) -> int | str:
    """Return the index of the node at the bottom, or why the picture is not a U."""
    nodes = [*drawn.nodes()]
    if any(isinstance(part, Box) for part in drawn.parts):
        return "blocks are open in it"
    shapes = [node.steps[-1].shape for node in nodes]
    vector = next((at for at, shape in enumerate(shapes) if not is_map(shape)), None)
    if vector is not None:
        what = _name(nodes[vector])
        return f"`{what}` makes {show_shape(shapes[vector])}, which is not a map"
    if not nodes:
        return "it has no drawn layers"
    areas = [count(sizes(shape)) for shape in shapes]
    lowest = areas.index(min(areas))
    while areas[lowest + 1 : lowest + 2] == [areas[lowest]]:
        lowest += 1
    pairs = sorted(set(_across(drawn, lowest)))
    tails = [tail for tail, _ in pairs]
    heads = [head for _, head in pairs]
    is_nested = heads == sorted(heads, reverse=True)
    is_paired = len(set(tails)) == len(set(heads)) == len(pairs)
    if len(pairs) < _PAIRS:
        skips = "one arrow leads" if pairs else "no arrow leads"
        return f"{skips} past `{_name(nodes[lowest])}`, where its maps are smallest"
    if not (is_nested and is_paired):
        return "the skips past the smallest maps are not nested, the first outermost"
    return lowest


def _name(node: PictureNode | Closed) -> str:
    return node.heading.path or path_of(node.steps[-1])


def node_numbers(drawn: Picture) -> dict[int, int]:
    """Return the number of the node that makes each value, in order."""
    return {
        step.output: place
        for place, node in enumerate(drawn.nodes())
        for step in node.steps
    }


def is_across(edge: Edge, order: dict[int, int], lowest: int) -> bool:
    """Return whether an arrow leads from one side of the U to the other."""
    if not isinstance(edge.head, int):
        return False
    return order.get(edge.tail, -1) < lowest < order[edge.head]


def _across(drawn: Picture, lowest: int) -> list[tuple[int, int]]:
    order = node_numbers(drawn)
    return [
        (order.get(edge.tail, -1), order[edge.head])
        for edge in drawn.edges
        if isinstance(edge.head, int) and is_across(edge, order, lowest)
    ]
