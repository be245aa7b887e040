"""The tensors that autograd keeps for each layer until its backward pass."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from archdsl.ir.graph import Graph, Node
from archdsl.layer import count
from archdsl.torch.gradient import tracked
from archdsl.values import Saved

from .recompute import Part

# A size is one number: bytes per sample times this, plus fixed bytes.
SAMPLE: Final = 1 << 64


def bytes_of(size: int, batch: int) -> int:
    """Return the bytes of a size for a batch."""
    return (size >> 64) * batch + (size & SAMPLE - 1)


class Kept(NamedTuple):
    """What autograd keeps for one layer.

    Attributes:
        values: values of the graph, each with its role for the layer.
        own: size of tensors that are created only to be kept.
        what: a word for these, such as ``mask``.
        trained: whether the layer has parameters, which are kept in any case.
    """

    values: tuple[tuple[int, str], ...]
    own: int
    what: str
    trained: bool

    @property
    def is_any(self) -> bool:
        """Whether anything is kept at all."""
        return bool(self.values or self.own or self.trained)


class SavedTensor(NamedTuple):
    """A tensor that autograd keeps, or several that one layer creates only for that.

    Attributes:
        what: ``input`` or ``output`` of its first holder, or what a tensor created for
            this is: ``mask``, ``indices``, ``statistics`` and the like. If a block is
            recomputed, its first layer represents it, and this says so.
        of: path of the layer in whose memory it is stored, or the network's input.
        holders: paths of the layers that keep it, in execution order.
        size: bytes; see `SAMPLE`.
    """

    what: str
    of: str
    holders: tuple[str, ...]
    size: int

    def as_dict(self, batch: int) -> dict[str, str | int]:
        """Return it as plain data, for a batch of the given size."""
        return {"what": self.what, "of": self.of, "bytes": bytes_of(self.size, batch)}


def kept(
    graph: Graph,
    item: int,
    items: Mapping[int, int] | None = None,
    gaps: frozenset[int] = frozenset(),
) -> dict[int, Kept]:
    """Return what autograd keeps for each layer, by the number of its output.

    Layers to which no gradient flows back are left out: nothing is kept for them.

    Args:
        graph: the network.
        item: bytes of an element of the parameters.
        items: bytes of an element of each value, if they differ; tensors that a layer
            creates itself have elements like those of its output.
        gaps: values that are not contiguous; see `strides`.
    """
    known = tracked(graph)
    found = {}
    for node in graph.nodes:
        if node.output not in known:
            continue
        trained = any([tensor.trainable for tensor in node.tensors])
        saved = node.op.saved(node.input_shapes, node.shape)
        if node.op.gathers and node.inputs[0] in gaps:
            copied = saved.own_elements + count(node.input_shapes[0])
            saved = saved._replace(input=False, own_elements=copied, what="copy")
        if node.inputs[0] not in known:
            saved = saved._replace(batch_tracked=0)
        values, products = _values(node, saved, known)
        each = item if items is None else items[node.output]
        own = own_size(saved, each, item) + products * each * SAMPLE
        what = "product" if products else saved.what
        found[node.output] = Kept(values, own, what, trained)
    return found


def own_size(saved: Saved, item: int, params: int | None = None) -> int:
    """Return the size of what a layer creates only to keep it.

    Args:
        saved: what it keeps.
        item: bytes of an element of its output.
        params: bytes of an element of its parameters, if they differ.
    """
    params = item if params is None else params
    wide = max(item, 4)
    each = saved.own_elements * item + saved.own_params * params + saved.own_bytes
    each += saved.own_floats * wide
    once = (saved.batch_elements + saved.batch_tracked) * item
    once += saved.batch_params * params
    return each * SAMPLE + once + saved.batch_floats * wide


def _values(
    node: Node, saved: Saved, differentiated: Collection[int]
) -> tuple[tuple[tuple[int, str], ...], int]:
    """Return the values that a layer keeps, and the elements of products it computes
    itself.
    """
    values: dict[int, str] = {}
    products = 0
    if saved.input:
        values.update(dict.fromkeys(node.inputs[: node.op.sources], "input"))
    elif saved.tracked_input:
        sources = node.inputs[: node.op.sources]
        values.update([(v, "input") for v in sources if v in differentiated])
    if saved.output:
        values[node.output] = "output"
    if saved.factors:
        factors, products = factors_kept(node, differentiated)
        values.update(dict.fromkeys(factors, "input"))
    return tuple(values.items()), products


def factors_kept(node: Node, differentiated: Collection[int]) -> tuple[list[int], int]:
    """Return the factors that a product keeps, and the elements of intermediate
    products.
    """
    left, *others = node.inputs
    left_gets = left in differentiated
    factors, products = [], 0
    for place, value in enumerate(others):
        if value in differentiated and place == 0:
            factors.append(left)
        elif value in differentiated:
            products += count(node.op.shape(*node.input_shapes[: place + 1]))
        if left_gets:
            factors.append(value)
        left_gets = left_gets or value in differentiated
    return factors, products


def homes(
    graph: Graph,
    nodes: Iterable[Node],
    overwritten: frozenset[int],
    *,
    training: bool,
    copied: frozenset[int] = frozenset(),
) -> dict[int, int]:
    """Return, for every value, the value in whose memory it is stored.

    Args:
        graph: the network.
        nodes: the steps that run.
        overwritten: outputs of those that run in place; see `inplace`.
        training: the mode.
        copied: values that are normally views, but copies here; see `strides`.
    """
    home = {value: value for value in graph.inputs}
    for node in nodes:
        made = node.output
        shared = made in overwritten or node.op.aliases(training)
        shared = shared and made not in copied
        home[made] = home[node.inputs[0]] if shared else made
    return home


def saved_tensors(
    graph: Graph,
    keeps: Mapping[int, Kept],
    home: Mapping[int, int],
    item: int,
    again: Sequence[Part] = (),
    items: Mapping[int, int] | None = None,
) -> tuple[SavedTensor, ...]:
    """Return the distinct tensors that autograd keeps, by their first holders.

    Args:
        graph: the network.
        keeps: what is kept for each layer.
        home: for every value, the one in whose memory it is stored.
        item: bytes of an element.
        again: parts that the backward pass recomputes.
        items: bytes of an element of each value, if they differ.
    """
    makers = {port.value: port.name for port in graph.network.inputs}
    makers.update((node.output, node.step.path) for node in graph.nodes)
    found: dict[int, tuple[str, str, list[str], int]] = {}

    def hold(path: str, value: int, what: str) -> None:
        place = home[value]
        if place not in found:
            each = item if items is None else items[place]
            size = count(graph.shapes[place]) * each * SAMPLE
            found[place] = what, makers[place], [], size
        found[place][2].append(path)

    inside = {at: part for part in again for at in part.places}
    for at, node in enumerate(graph.nodes):
        keep, part, path = keeps.get(node.output), inside.get(at), node.step.path
        if part is not None:
            if at == part.places.start and _keeps_any(graph, keeps, part):
                for value in part.reads:
                    hold(path, value, f"input of {part.path}")
        elif keep is not None:
            for value, what in keep.values:
                hold(path, value, what)
            if keep.own:
                # By place: a shared layer keeps new tensors at each use.
                found[~at] = keep.what, path, [path], keep.own
    return tuple(
        [SavedTensor(what, of, tuple(by), n) for what, of, by, n in found.values()]
    )


def _keeps_any(graph: Graph, keeps: Mapping[int, Kept], part: Part) -> bool:
    """Return whether autograd keeps anything for a part."""
    found = [keeps.get(graph.nodes[at].output) for at in part.places]
    return any([keep is not None and keep.is_any for keep in found])
