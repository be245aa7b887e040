"""What rules work on: the graph of a network, and facts that several of them need."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache

from archdsl.ir import Group, Network, Step
from archdsl.layer import count
from archdsl.passes.graph import Graph, Node, flatten
from archdsl.passes.receptive import Field, fields, windows
from archdsl.source import Source, Span
from archdsl.syntax import tree as t
from archdsl.values import POINTWISE, Tensor, Window, channels, sizes

from .rule import Saving
from .written import Written, written


class Net:
    """One network of a spec.

    Attributes:
        network: as elaborated.
        graph: the same as a list of nodes.
        source: of the spec itself; layers of what it imports stand elsewhere.
    """

    def __init__(self, network: Network, file: t.File) -> None:
        self.network = network
        self.graph: Graph = flatten(network)
        self.source: Source = file.source
        self._file = file

    # ---- the graph

    @cached_property
    def makers(self) -> Mapping[int, Node]:
        """The node that makes each value."""
        return {node.output: node for node in self.graph.nodes}

    @cached_property
    def readers(self) -> Mapping[int, list[Node]]:
        """The nodes that read each value, its shape alone left aside."""
        found: dict[int, list[Node]] = {value: [] for value in self.graph.shapes}
        for node in self.graph.nodes:
            for value in dict.fromkeys(node.inputs[: node.op.sources]):
                found[value].append(node)
        return found

    @cached_property
    def windows(self) -> Sequence[Window | None]:
        """The window of every node, None where a unit sees all of its input."""
        return windows(self.graph)

    @cached_property
    def fields(self) -> Mapping[int, Field]:
        """What every value's units see of the first input."""
        return fields(self.graph, self.windows)

    @cached_property
    def positive(self) -> frozenset[int]:
        """The values that are never below zero, as far as that is known."""
        found: set[int] = set()
        for node in self.graph.nodes:
            read = node.inputs[: node.op.sources]
            if node.op.is_positive([value in found for value in read]):
                found.add(node.output)
        return frozenset(found)

    @cached_property
    def outputs(self) -> frozenset[int]:
        """The values that the network returns in training."""
        return frozenset(self.graph.outputs(training=True))

    def next(self, node: Node) -> Node | None:
        """Return the only node that reads what a node makes."""
        readers = self.readers[node.output]
        alone = len(readers) == 1 and node.output not in self.outputs
        return readers[0] if alone else None

    @cached_property
    def _uses(self) -> Mapping[str, list[Node]]:
        found: dict[str, list[Node]] = {}
        for node in self.graph.nodes:
            found.setdefault(node.step.path, []).append(node)
        return found

    def uses(self, node: Node) -> list[Node]:
        """Return a layer and every other use of its weights, in order."""
        return self._uses[node.step.path]

    @cached_property
    def owners(self) -> list[Node]:
        """The nodes but for those with the weights of an earlier one."""
        return [node for node in self.graph.nodes if not node.step.shared]

    def norm_behind(self, node: Node) -> Node | None:
        """Return the norm that a convolution right before it needs no bias for."""
        after = self.next(node)
        return after if after is not None and after.op.absorbs_bias else None

    def per_channel(self, node: Node) -> int:
        """Return what a further layer like a convolution has for each channel.

        That is a bias, and what the norm behind it has, which is repeated, too.
        """
        norm = self.norm_behind(node)
        if norm is None:
            return int(bias(node) is not None)
        # Right before the norm there is no bias, unless the spec asks for one.
        written = self.written(node)
        said = written is None or written.argument("bias") is not None
        own = bias(node) is not None and said
        return int(own) + params(norm) // channels(norm.shape)

    @cached_property
    def classifies(self) -> bool:
        """Whether the main output is a vector made of a map."""
        image = self.graph.shapes[self.graph.inputs[0]]
        main = self.graph.shapes[self.graph.outputs(training=False)[0]]
        return len(main) == 1 and len(image) > 1

    # ---- figures

    @cached_property
    def params(self) -> int:
        """Elements of all parameters."""
        nodes = (node for node in self.graph.nodes if not node.step.shared)
        return sum(params(node) for node in nodes)

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of inference for one sample."""
        return sum(macs(node) for node in self.graph.run(training=False))

    def share(self, part: int, whole: int) -> float:
        """Return a part of the whole; nothing of nothing."""
        return part / whole if whole else 0.0

    # ---- places in the text

    @cached_property
    def _around(self) -> Mapping[int, tuple[Group, ...]]:
        """The groups around each step, outermost first, by its identity."""
        found: dict[int, tuple[Group, ...]] = {}
        stack: list[tuple[Group, tuple[Group, ...]]] = [(self.network.root, ())]
        while stack:
            group, outer = stack.pop()
            inner = (*outer, group)
            for child in group.children:
                if isinstance(child, Step):
                    found[id(child)] = inner
                else:
                    stack.append((child, inner))
        return found

    def place(self, node: Node) -> Span:
        """Return where the spec itself writes a layer, or calls what holds it."""
        return self.places(node)[0]

    def places(self, node: Node) -> list[Span]:
        """Return the same for all that holds a layer, the innermost first."""
        return [span for span in self.spans(node) if span.source is self.source]

    def spans(self, node: Node) -> list[Span]:
        """Return where a layer and all that holds it are written, in any file."""
        around = reversed(self._around[id(node.step)])
        return [node.step.span, *(group.span for group in around)]

    def is_written_here(self, node: Node) -> bool:
        """Whether the spec itself writes a layer."""
        return node.step.span.source is self.source

    def written(self, node: Node) -> Written | None:
        """Return the words that stand for a layer, if they stand for nothing else."""
        if not self.is_written_here(node):
            return None
        span = node.step.span
        found = _all_written(self._file).get((span.start, span.end))
        return found if found is not None and found.call.word == node.op.word else None


@lru_cache(maxsize=1)
def _all_written(file: t.File) -> Mapping[tuple[int, int], Written]:
    """Return the calls of a file by their places, once for all its networks."""
    return {(w.call.span.start, w.call.span.end): w for w in written(file)}


def params(node: Node) -> int:
    """Return the elements of a layer's parameters."""
    return sum(tensor.elements for tensor in _trained(node))


def macs(node: Node) -> int:
    """Return a layer's multiply-accumulates for one sample."""
    return node.op.macs(node.input_shapes, node.shape)


def saving(uses: Sequence[Node], params: int, macs: Callable[[Node], int]) -> Saving:
    """Return what is saved of a layer's weights, and of its work in each use.

    What runs in training alone costs nothing in inference.
    """
    return Saving(params, sum(macs(node) for node in uses if not node.training))


def weight(node: Node) -> Tensor | None:
    """Return the matrix or kernel of a layer, None if it has none."""
    return next((t for t in _trained(node) if len(t.shape) > 1), None)


def bias(node: Node) -> Tensor | None:
    """Return what a layer with a weight adds to each channel, if it does."""
    if weight(node) is None:
        return None
    return next((t for t in _trained(node) if t.name == "bias"), None)


def rim(node: Node) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return how many rows and columns of zeros a layer adds at each end of a map."""
    window = node.op.window(node.input_shapes, node.shape)
    before, after = sizes(node.input_shapes[0]), sizes(node.shape)
    if node.op.family != "reshape" or window is None or len(before) != len(after):
        return (0, 0), (0, 0)
    added = [
        (pad, large - small - pad)
        for small, large, pad in zip(before, after, window.pad, strict=True)
    ]
    plain = window._replace(pad=POINTWISE.pad) == POINTWISE
    if not plain or len(added) != 2 or min(map(min, added)) < 0:
        return (0, 0), (0, 0)
    return added[0], added[1]


def positions(node: Node) -> int:
    """Return at how many places of a map a layer computes, 1 for a vector."""
    return count(sizes(node.shape))


def _trained(node: Node) -> Iterator[Tensor]:
    return (t for t in node.tensors if t.trainable)


def percent(part: int, whole: int) -> str:
    """Return ``45 %``, with a decimal below ten."""
    value = 100 * part / whole if whole else 0.0
    return f"{value:.0f} %" if value >= 10 else f"{value:.1f} %"
