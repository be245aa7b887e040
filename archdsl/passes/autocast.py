"""What autograd keeps under torch's autocast to bfloat16, with 32-bit parameters.

This models the lists of `torch.autocast("cpu")` (aten/src/ATen/autocast_mode.cpp):
convolutions, linear layers and `prelu` run in bfloat16, everything else in the dtype of
its inputs, and a merge in the widest of them. On a GPU, `softmax`, `layernorm` and
`groupnorm` also run in 32 bits. The statistics of an `instancenorm` without parameters
are taken to have 32 bits, as on a GPU, although on a CPU they have the dtype of its
input.
"""

from __future__ import annotations

from typing import Final

from archdsl.ir.graph import Graph, Node
from archdsl.layer import count

from .saved import SAMPLE, Kept, SavedTensor, homes, kept, saved_tensors
from .strides import Gaps

_LOW: Final = 2
_WIDE: Final = 4


def autocast_saved(
    graph: Graph, overwritten: frozenset[int], gaps: Gaps
) -> tuple[SavedTensor, ...]:
    """Return the distinct tensors that autograd keeps under autocast.

    Among them are the 16-bit copies of the weights, which autocast makes once per step.
    An input that does not have 16 bits is kept as a 16-bit copy by each layer that runs
    in bfloat16.

    Args:
        graph: the network.
        overwritten: outputs of the steps that need no memory of their own in training.
        gaps: what `strides.gaps` gives.
    """
    items = element_bytes(graph)
    keeps = kept(graph, _WIDE, items, gaps.inside)
    for node in graph.nodes:
        keep = keeps.get(node.output)
        if keep is not None and node.op.autocast == "lower":
            is_spared = node.op.spares_weight and keeps.keys().isdisjoint(node.inputs)
            keeps[node.output] = _lowered(node, keep, items, is_spared)
    home = homes(graph, graph.nodes, overwritten, training=True, copied=gaps.copied)
    return saved_tensors(graph, keeps, home, _WIDE, items=items)


def element_bytes(graph: Graph) -> dict[int, int]:
    """Return the bytes of an element of each value under autocast."""
    items = dict.fromkeys(graph.inputs, _WIDE)
    for node in graph.nodes:
        if node.op.autocast == "lower":
            items[node.output] = _LOW
        elif node.op.autocast == "wide":
            items[node.output] = _WIDE
        else:
            sources = node.inputs[: node.op.sources]
            items[node.output] = max([items[value] for value in sources])
    return items


def _lowered(node: Node, keep: Kept, items: dict[int, int], is_spared: bool) -> Kept:
    """Return what is kept of a layer that runs in 16 bits, apart from its weight."""
    is_copied = not (is_spared or node.step.shared or bool(node.op.baked))
    weights = node.tensors if is_copied else ()
    own = keep.own + _LOW * sum([t.elements for t in weights if t.name == "weight"])
    as_is = node.op.saved(node.input_shapes, node.shape).tracked_input
    values = []
    shapes = dict(zip(node.inputs, node.input_shapes, strict=True))
    for value, what in keep.values:
        if items[value] == _LOW or as_is:
            values.append((value, what))
        else:
            own += count(shapes[value]) * _LOW * SAMPLE
    return keep._replace(values=tuple(values), own=own, what="copies in bfloat16")
