"""What a run of a network allocates, keeps and frees, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from archdsl.ir.graph import Graph, Node
from archdsl.layer import count
from archdsl.torch.frames import Frames, frames, partial
from archdsl.torch.gradient import gradient_values

from .saved import SAMPLE, Kept, factors_kept, own_size


class TapeEntry(NamedTuple):
    """One layer of a tape. Sizes are as in `saved`.

    Attributes:
        path: path of the layer.
        inputs: values that it reads.
        output: value that it defines.
        size: size of that value.
        views: whether that is a view, in inference and in training.
        own: size of what it creates in training only for its backward pass.
        keeps: values that autograd keeps for it.
        is_kept: whether its backward pass runs and needs anything, such as parameters.
        is_dead: whether autograd keeps something for a backward pass that does not run,
            as nothing with a gradient is computed from it.
        sources: inputs that have a part in the backward pass.
        inference: size of what it allocates temporarily in inference, besides its
            output.
        forward: the same in training, besides what is kept.
        backward: the same in the backward pass, besides the gradients that it computes.
        asked: its inputs whose gradient the backward pass computes.
        shares: whether these are its output's own gradient, or views of it.
        weights: bytes of its trainable parameters.
        before: size of what is allocated in its place before its output exists.
        after: size of what it allocates in the backward pass after the gradient of its
            output is freed, and still keeps; 0 if it allocates nothing then.
        last: the same after the gradients of its inputs have been summed.
        late: bytes of those whose gradient is allocated after the output's gradient is
            freed.
        parts: what is computed one after the other instead: of a sum or product of
            three or more, those of two; of a function of an operator's result, this
            result and the function; empty otherwise.
    """

    path: str
    inputs: tuple[int, ...]
    output: int
    size: int
    views: tuple[bool, bool]
    own: int
    keeps: tuple[int, ...]
    is_kept: bool
    is_dead: bool
    sources: tuple[int, ...]
    inference: int
    forward: int
    backward: int
    asked: tuple[int, ...]
    shares: bool
    weights: int
    late: int
    before: int = 0
    after: int = 0
    last: int = 0
    parts: tuple[TapeEntry, ...] = ()

    @property
    def operations(self) -> tuple[TapeEntry, ...]:
        """What runs: the parts, or the layer."""
        return self.parts or (self,)


class Tape(NamedTuple):
    """The layers of a network in execution order, with everything that a run needs to
    know.

    Attributes:
        graph: the network.
        item: bytes of an element.
        entries: its layers.
        sizes: size of every value, and of the partial sums and products.
        overwritten: values that can be stored in the memory of what they are computed
            from.
        copying: those of them for which autograd copies the input.
        differentiated: values whose gradient the backward pass computes.
        same: for each value, the one that torch knows it as: a layer such as `identity`
            returns its input.
        frames: how long values are held, in inference and in training.
    """

    graph: Graph
    item: int
    entries: tuple[TapeEntry, ...]
    sizes: dict[int, int]
    overwritten: frozenset[int]
    copying: frozenset[int]
    differentiated: frozenset[int]
    same: Mapping[int, int]
    frames: tuple[Frames, Frames]


def tape(
    graph: Graph,
    item: int,
    keeps: Mapping[int, Kept],
    overwritten: frozenset[int],
    copying: frozenset[int],
    copied: frozenset[int] = frozenset(),
) -> Tape:
    """Return the tape of a network.

    Args:
        graph: the network.
        item: bytes of an element.
        keeps: what autograd keeps for each layer; see `saved.kept`.
        overwritten: outputs of the steps that can run in place; see `inplace`.
        copying: those of them for which autograd copies the input; see `inplace`.
        copied: values that are normally views, but copies here; see `strides`.
    """
    differentiated = gradient_values(graph)
    sample = item * SAMPLE
    sizes = {value: count(shape) * sample for value, shape in graph.shapes.items()}
    entries, numbers = [], partial(graph)
    for node in graph.nodes:
        keep, dead = keeps.get(node.output), node.output not in differentiated
        entry = _entry(node, keep, differentiated, item, dead=dead)
        if node.output in copied:
            entry = entry._replace(views=(False, False))
        if node.output in numbers:
            made = (*numbers[node.output], node.output)
            if len(made) < len(node.inputs):
                parts = _parts(node, made, keep, differentiated, item, dead=dead)
            else:
                parts = _called(entry, made[0])
            sizes.update((part.output, part.size) for part in parts)
            entry = entry._replace(parts=parts)
        entries.append(entry)
    return Tape(
        graph,
        item,
        tuple(entries),
        sizes,
        overwritten,
        copying,
        differentiated,
        _same(graph, copied),
        frames(graph, overwritten),
    )


def _same(graph: Graph, copied: frozenset[int]) -> dict[int, int]:
    """Return, for every value, the one whose tensor it is in training."""
    same = {value: value for value in graph.inputs}
    for node in graph.nodes:
        made = node.output
        returned = node.op.returns_input(node.input_shapes, node.shape)
        itself = returned and made not in copied
        same[made] = same[node.inputs[0]] if itself else made
    return same


def _entry(
    node: Node,
    keep: Kept | None,
    differentiated: frozenset[int],
    item: int,
    *,
    dead: bool,
) -> TapeEntry:
    op, shapes, shape = node.op, node.input_shapes, node.shape
    sample = item * SAMPLE
    asked = tuple([value in differentiated for value in node.inputs])
    scratch = op.scratch(shapes, shape, asked)
    views = op.aliases(False), op.aliases(True)
    forward = scratch.forward * sample + scratch.batch_forward * item
    # If nothing is kept, tensors that training would keep are freed at once.
    own = keep.own if keep else own_size(op.saved(shapes, shape), item)
    still = op.saved(shapes, shape).batch_params * item
    once = own
    if scratch.inference is not None:
        once = scratch.inference * sample + scratch.batch_inference * item
    if keep is None:
        forward = forward + own if scratch.inference is None else max(forward, once)
    weights = sum([t.elements for t in node.tensors if t.trainable]) * item
    return TapeEntry(
        node.step.path,
        node.inputs,
        node.output,
        count(shape) * sample,
        views,
        keep.own if keep else 0,
        tuple([value for value, _ in keep.values]) if keep else (),
        keep is not None and keep.is_any and not dead,
        keep is not None and dead,
        node.inputs[: op.sources],
        0 if views[0] else once,
        0 if views[1] else forward,
        scratch.backward * sample + scratch.backward_bytes * SAMPLE,
        tuple([v for v in node.inputs[: op.sources] if v in differentiated]),
        op.shares_gradient(shapes, shape),
        weights,
        scratch.late * item,
        scratch.before * sample + scratch.batch_before * item,
        scratch.after * sample + still if scratch.after else 0,
        scratch.batch_late * item + still if scratch.batch_late else 0,
    )


def _called(entry: TapeEntry, inner: int) -> tuple[TapeEntry, TapeEntry]:
    """Return an operator, and the function that is called with its result.

    Autograd keeps this result if it keeps anything, and runs both backwards as one.

    Args:
        entry: both together.
        inner: the value of the result, of the output's size.
    """
    operator = TapeEntry(
        path=entry.path,
        inputs=entry.inputs,
        output=inner,
        size=entry.size,
        views=(False, False),
        own=0,
        keeps=(),
        is_kept=False,
        is_dead=False,
        sources=(),
        inference=0,
        forward=0,
        backward=0,
        asked=(),
        shares=False,
        weights=0,
        late=0,
    )
    keeps = (inner,) if entry.own else ()
    function = entry._replace(
        inputs=(inner,), own=0, keeps=keeps, inference=0, forward=0
    )
    return operator, function


def _parts(
    node: Node,
    made: Sequence[int],
    keep: Kept | None,
    differentiated: frozenset[int],
    item: int,
    *,
    dead: bool,
) -> tuple[TapeEntry, ...]:
    """Return the sums or products of two that one of more operands consists of.

    Args:
        node: the sum or product.
        made: the values of the parts.
        keep: what autograd keeps for the whole.
        differentiated: values whose gradient the backward pass computes.
        item: bytes of an element.
        dead: whether the backward pass does not run it.
    """
    found = []
    (left, *operands), (shape, *shapes) = node.inputs, node.input_shapes
    for right, of_right, output in zip(operands, shapes, made, strict=True):
        both = shape, of_right
        shape = node.op.shape(*both)
        pair = node._replace(
            inputs=(left, right), input_shapes=both, output=output, shape=shape
        )
        read: Sequence[int] = ()
        if not differentiated.isdisjoint(pair.inputs):
            if node.op.saved(both, shape).factors:
                read, _ = factors_kept(pair, differentiated)
            differentiated |= {output}
        kept = Kept(tuple([(value, "input") for value in read]), 0, "", False)
        found.append(_entry(pair, keep and kept, differentiated, item, dead=dead))
        left = output
    return tuple(found)
