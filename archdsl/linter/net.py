"""The input of rules: the graph of a network, and facts that several rules need."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache

from archdsl.ir import Group, Network, Step
from archdsl.ir.graph import Graph, Node, flatten
from archdsl.layer import count
from archdsl.passes.receptive import UnitFields, fields, windows
from archdsl.source import Source, Span
from archdsl.syntax import tree as t
from archdsl.values import Tensor, Window, channels, sizes, zeros

from .rule import Saving
from .written import WrittenCall, written


class Net:
    """One network of a spec.

    Attributes:
        network: the elaborated network.
        graph: the same as a list of nodes.
        source: source of the spec itself; layers of imported blocks are elsewhere.
    """

    def __init__(self, network: Network, file: t.File) -> None:
        self.network = network
        self.graph: Graph = flatten(network)
        self.source: Source = file.source
        self._file = file

    # ---- the graph

    @cached_property
    def makers(self) -> Mapping[int, Node]:
        """The node that defines each value."""
        return {node.output: node for node in self.graph.nodes}

    @cached_property
    def readers(self) -> Mapping[int, list[Node]]:
        """The nodes that read the contents of each value, not just its shape."""
        found: dict[int, list[Node]] = {value: [] for value in self.graph.shapes}
        for node in self.graph.nodes:
            for value in dict.fromkeys(node.inputs[: node.op.sources]):
                found[value].append(node)
        return found

    @cached_property
    def windows(self) -> Sequence[Window | None]:
        """The window of every node, None if its units see all of its input."""
        return windows(self.graph)

    @cached_property
    def fields(self) -> Mapping[int, UnitFields]:
        """The receptive fields of all values in the first input."""
        return fields(self.graph, self.windows)

    @cached_property
    def positive(self) -> frozenset[int]:
        """The values that are known never to be negative."""
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
        """Return the only node that reads a node's output, if there is a single one."""
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
        """All nodes except those that share the weights of an earlier one."""
        return [node for node in self.graph.nodes if not node.step.shared]

    def norm_behind(self, node: Node) -> Node | None:
        """Return the norm after a convolution that makes its bias unnecessary."""
        after = self.next(node)
        return after if after is not None and after.op.absorbs_bias else None

    def per_channel(self, node: Node) -> int:
        """Return the parameters per channel that another layer like a convolution would
        add.

        These are a bias, or the parameters of the norm after it, which is repeated,
        too.
        """
        norm = self.norm_behind(node)
        if norm is None:
            return int(bias(node) is not None)
        # A layer right before the norm has no bias, unless the spec sets one.
        written = self.written(node)
        said = written is None or written.argument("bias") is not None
        own = bias(node) is not None and said
        return int(own) + params(norm) // channels(norm.shape)

    @cached_property
    def classifies(self) -> bool:
        """Whether the main output is a vector computed from a map."""
        image = self.graph.shapes[self.graph.inputs[0]]
        main = self.graph.shapes[self.graph.outputs(training=False)[0]]
        return len(main) == 1 and len(image) > 1

    # ---- figures

    @cached_property
    def params(self) -> int:
        """Number of parameters."""
        nodes = (node for node in self.graph.nodes if not node.step.shared)
        return sum(params(node) for node in nodes)

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of inference for one sample."""
        return sum(macs(node) for node in self.graph.run(training=False))

    def share(self, part: int, whole: int) -> float:
        """Return a part divided by the whole; 0 if both are 0."""
        return part / whole if whole else 0.0

    # ---- places in the text

    @cached_property
    def _around(self) -> Mapping[int, tuple[Group, ...]]:
        """The groups that enclose each step, outermost first, by the step's id."""
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
        """Return where the spec itself has a layer, or the call that contains it."""
        return self.places(node)[0]

    def places(self, node: Node) -> list[Span]:
        """Return the same for everything that contains a layer, innermost first."""
        return [span for span in self.spans(node) if span.source is self.source]

    def spans(self, node: Node) -> list[Span]:
        """Return where a layer and everything that contains it are written, in any
        file.
        """
        around = reversed(self._around[id(node.step)])
        return [node.step.span, *(group.span for group in around)]

    def is_written_here(self, node: Node) -> bool:
        """Whether the spec itself writes a layer."""
        return node.step.span.source is self.source

    def written(self, node: Node) -> WrittenCall | None:
        """Return the call in the text that is exactly one layer, if there is one."""
        if not self.is_written_here(node):
            return None
        span = node.step.span
        found = _all_written(self._file).get((span.start, span.end))
        return found if found is not None and found.call.word == node.op.word else None


@lru_cache(maxsize=1)
def _all_written(file: t.File) -> Mapping[tuple[int, int], WrittenCall]:
    """Return the calls of a file by place, computed once for all its networks."""
    return {(w.call.span.start, w.call.span.end): w for w in written(file)}


def params(node: Node) -> int:
    """Return the number of a layer's parameters."""
    return sum(tensor.elements for tensor in _trained(node))


def macs(node: Node) -> int:
    """Return a layer's multiply-accumulates for one sample."""
    return node.op.macs(node.input_shapes, node.shape)


def saving(uses: Sequence[Node], params: int, macs: Callable[[Node], int]) -> Saving:
    """Return the saving in a layer's weights, and in the MACs of all its uses.

    Layers that only run in training cost nothing in inference.
    """
    return Saving(params, sum(macs(node) for node in uses if not node.training))


def weight(node: Node) -> Tensor | None:
    """Return the matrix or kernel of a layer, None if it has none.

    A layer that is itself a parameter only multiplies by it, whatever its sizes.
    """
    found = (t for t in _trained(node) if t.name and len(t.shape) > 1)
    return next(found, None)


def bias(node: Node) -> Tensor | None:
    """Return the tensor that a layer with weights adds to each channel, if any."""
    if weight(node) is None:
        return None
    return next((t for t in _trained(node) if t.name == "bias"), None)


def zero_border(node: Node) -> tuple[tuple[int, int], ...]:
    """Return how many zeros a layer adds at the start and end of a map's axes."""
    window = node.window
    before, after = sizes(node.input_shapes[0]), sizes(node.shape)
    none = ((0, 0),) * len(after)
    if node.op.family != "reshape" or window is None or len(before) != len(after):
        return none
    added = [
        (pad, large - small - pad)
        for small, large, pad in zip(before, after, window.pad, strict=True)
    ]
    plain = window._replace(pad=zeros(len(after))).is_pointwise
    return tuple(added) if plain and all(min(ends) >= 0 for ends in added) else none


def positions(node: Node) -> int:
    """Return the number of positions at which a layer computes, 1 for a vector."""
    return count(sizes(node.shape))


def _trained(node: Node) -> Iterator[Tensor]:
    return (t for t in node.tensors if t.trainable)


def percent(part: int, whole: int) -> str:
    """Return ``45 %``, with a decimal below ten."""
    value = 100 * part / whole if whole else 0.0
    return f"{value:.0f} %" if value >= 10 else f"{value:.1f} %"
