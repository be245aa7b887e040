"""What a network has in memory, moment by moment, in inference or a training step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from archdsl.layer import count
from archdsl.values import Shape

from .frames import frames
from .gradient import gradients
from .graph import Graph, Node
from .inplace import inplace
from .saved import SAMPLE, Kept, kept, own_size

# When something is in use: ``forward``, ``backward`` or ``recompute``, and the path of
# the layer that runs then.
Moment = tuple[str, str]


class _Memory:
    """What is allocated while a program runs, each piece until its last holder goes.

    Attributes:
        total: the size of all that is there.
        moments: the sizes that the total had, each with the first moment.
    """

    def __init__(self) -> None:
        self.total = 0
        self.moments: dict[int, Moment] = {}
        self._sizes: list[int] = []
        self._holders: list[int] = []

    def make(self, size: int) -> int:
        """Allocate a piece with one holder; return its number."""
        self.total += size
        self._sizes.append(size)
        self._holders.append(1)
        return len(self._sizes) - 1

    def hold(self, piece: int) -> int:
        """Add a holder to a piece."""
        self._holders[piece] += 1
        return piece

    def drop(self, piece: int) -> None:
        """Take a holder away; without any, the piece is freed."""
        self._holders[piece] -= 1
        if not self._holders[piece]:
            self.total -= self._sizes[piece]

    def note(self, phase: str, node: Node, more: int = 0) -> None:
        """Note what is there as a node runs, and a size more for a moment."""
        total = self.total + more
        if total not in self.moments:
            self.moments[total] = phase, node.step.path


class Usage(NamedTuple):
    """What is in use, parameters, buffers and the optimiser's state apart.

    Attributes:
        moments: sizes, each with the first moment at which it is in use.
        end: the size at the end; of training, all gradients of parameters included.
    """

    moments: Mapping[int, Moment]
    end: int


def inference(graph: Graph, item: int) -> Usage:
    """Return what a forward pass uses of which autograd keeps nothing.

    The caller holds the inputs. Sizes are as in `saved`.

    Args:
        graph: the network.
        item: bytes of an element.
    """
    run = _Run(graph, item, training=False)
    for place in range(len(run.nodes)):
        run.forward(place, "forward")
        run.free(place)
    return Usage(run.memory.moments, run.memory.total)


def training(graph: Graph, item: int, regions: Sequence[range] = ()) -> Usage:
    """Return what the forward and the backward pass of a training step use.

    The caller holds inputs and outputs. The gradient of each output is a tensor of its
    own, as with a mean or cross entropy; what the loss keeps itself is left out. The
    parameters have no gradients before, as after `zero_grad`.

    Args:
        graph: the network.
        item: bytes of an element.
        regions: places of the nodes of each part that is run again in the backward
            pass; see `recompute`.
    """
    run = _Step(graph, item, regions)
    for place in range(len(run.nodes)):
        run.step_forward(place)
    run.step_backward()
    return Usage(run.memory.moments, run.memory.total)


class _Run:
    """A run of a network's nodes in one mode.

    Attributes:
        nodes: those that run.
        memory: what is there.
        pieces: the piece of memory in which each value stands.
    """

    def __init__(self, graph: Graph, item: int, *, training: bool) -> None:
        self.graph = graph
        self.item = item
        self.training = training
        self.nodes = graph.run(training)
        self.memory = _Memory()
        held = frames(graph, self.nodes)
        self._overwritten = inplace(graph) - held.lent
        callers = {*graph.inputs, *graph.outputs(training)}
        self.frees: list[list[int]] = [[] for _ in self.nodes]
        for value, place in held.until.items():
            if value not in callers:
                self.frees[place].append(value)
        self.pieces = {value: self.make(graph.shapes[value]) for value in graph.inputs}

    def make(self, shape: Shape) -> int:
        """Allocate a tensor of a shape for each sample."""
        return self.memory.make(self.size(count(shape)))

    def size(self, elements: int) -> int:
        """Return the size of that many elements a sample."""
        return elements * self.item * SAMPLE

    def forward(self, place: int, phase: str, keep: Kept | None = None) -> list[int]:
        """Run a node; return the pieces that autograd keeps of it."""
        node, memory = self.nodes[place], self.memory
        made, is_alias = node.output, node.op.aliases(self.training)
        if is_alias or made in self._overwritten:
            self.pieces[made] = memory.hold(self.pieces[node.inputs[0]])
        else:
            self.pieces[made] = self.make(node.shape)
        held = self.keep(keep) if keep else []
        memory.note(phase, node, 0 if is_alias else self._scratch(node, keep))
        return held

    def keep(self, keep: Kept) -> list[int]:
        """Hold what autograd keeps of a node."""
        held = [self.memory.hold(self.pieces[value]) for value, _ in keep.values]
        return [*held, self.memory.make(keep.own)] if keep.own else held

    def free(self, place: int) -> None:
        """Let go of what nothing of the program holds after a node."""
        for value in self.frees[place]:
            self.memory.drop(self.pieces[value])

    def _scratch(self, node: Node, keep: Kept | None) -> int:
        """Return the size of what a node has for a while."""
        op, shapes = node.op, node.input_shapes
        scratch = op.scratch(shapes, node.shape, (True,) * len(shapes))
        more = scratch.forward if self.training else 0
        if keep is None and scratch.inference is None:
            # What training keeps of its own is gone at once.
            return self.size(more) + own_size(op.saved(shapes, node.shape), self.item)
        if keep is None and scratch.inference is not None:
            more += scratch.inference
        return self.size(more)


class _Region:
    """A part of the network that the backward pass runs again.

    Attributes:
        places: of its nodes.
        savers: those of them of which autograd keeps something, parameters included.
        reads: values it reads that it does not make.
        held: pieces of these, while the backward pass may need them.
        is_done: whether it has been run again.
    """

    def __init__(self, places: range, savers: list[int], reads: list[int]) -> None:
        self.places = places
        self.savers = savers
        self.reads = reads
        self.held: list[int] = []
        self.is_done = False


class _Step(_Run):
    """The forward and backward pass of a training step."""

    def __init__(self, graph: Graph, item: int, regions: Sequence[range]) -> None:
        super().__init__(graph, item, training=True)
        self._wanted = gradients(graph)
        self._keeps = kept(graph, item)
        self._saved: dict[int, list[int]] = {}
        self._gradients: dict[int, int] = {}
        self._weights: dict[str, int] = {}
        self._trained = [
            sum([t.elements for t in n.op.tensors(*n.input_shapes) if t.trainable])
            for n in self.nodes
        ]
        self._region: dict[int, _Region] = {}
        for places in regions:
            region = self._made_region(places)
            if region.savers:
                self._region.update(dict.fromkeys(places, region))

    def _made_region(self, places: range) -> _Region:
        savers = [
            at
            for at in places
            if (keep := self._keeps.get(self.nodes[at].output)) is not None
            and (keep.values or keep.own or self._trained[at])
        ]
        made = {self.nodes[at].output for at in places}
        reads = dict.fromkeys(v for at in places for v in self.nodes[at].inputs)
        return _Region(places, savers, [value for value in reads if value not in made])

    # ---- forward

    def step_forward(self, place: int) -> None:
        """Run a node of the forward pass."""
        made = self.nodes[place].output
        region = self._region.get(place)
        if region is None:
            keep = self._keeps.get(made)
            self._saved[made] = self.forward(place, "forward", keep)
        else:
            if place == region.places[0]:
                pieces = [self.pieces[value] for value in region.reads]
                region.held = [self.memory.hold(piece) for piece in pieces]
            self.forward(place, "forward")
        self.free(place)

    def _recompute(self, region: _Region) -> None:
        """Run a part again, up to where all is there that its backward pass needs."""
        region.is_done = True
        first, last = region.places[0], region.savers[-1]
        alive: set[int] = set()
        for place in range(first, last + 1):
            made = self.nodes[place].output
            keep = self._keeps.get(made)
            if place == last and keep and not keep.own and not keep.has(made):
                # All is kept before the layer runs, which then does not run any more.
                self._saved[made] = self.keep(keep)
                break
            self._saved[made] = self.forward(place, "recompute", keep)
            alive.add(made)
            for value in alive.intersection(self.frees[place]):
                alive.remove(value)
                self.memory.drop(self.pieces[value])
        for value in alive:
            self.memory.drop(self.pieces[value])

    # ---- backward

    def step_backward(self) -> None:
        """Run the backward pass: autograd takes nodes from the last to the first."""
        end = len(self.nodes) - 1
        for value in self.graph.outputs(training=True):
            if value in self._wanted:
                self._add(value, self.make(self.graph.shapes[value]), end)
        self.memory.note("backward", self.nodes[end])
        for place in range(end, -1, -1):
            gradient = self._gradients.pop(self.nodes[place].output, None)
            if gradient is not None:
                self._backward(place, gradient)

    def _backward(self, place: int, gradient: int) -> None:
        node, memory = self.nodes[place], self.memory
        op, shapes = node.op, node.input_shapes
        region = self._region.get(place)
        if region is not None and not region.is_done and place in region.savers:
            self._recompute(region)
        asked = tuple([value in self._wanted for value in node.inputs])
        sources = [v for v in node.inputs[: op.sources] if v in self._wanted]
        if op.shares_gradient(shapes, node.shape):
            made = [memory.hold(gradient) for _ in sources]
        else:
            made = [self.make(self.graph.shapes[value]) for value in sources]
        if self._trained[place]:
            weights = memory.make(self._trained[place] * self.item)
        more = op.scratch(shapes, node.shape, asked).backward
        memory.note("backward", node, self.size(more))
        memory.drop(gradient)
        for piece in self._saved.pop(node.output, ()):
            memory.drop(piece)
        if region is not None and place == region.savers[0]:
            for piece in region.held:
                memory.drop(piece)
        for value, piece in zip(sources, made, strict=True):
            self._add(value, piece, place)
        if self._trained[place]:
            self._add_weights(place, weights)

    def _add(self, value: int, piece: int, place: int) -> None:
        """Add a gradient to what has come for a value already, in new memory."""
        old = self._gradients.get(value)
        if old is None:
            self._gradients[value] = piece
            return
        self._gradients[value] = self.make(self.graph.shapes[value])
        self.memory.note("backward", self.nodes[place])
        self.memory.drop(old)
        self.memory.drop(piece)

    def _add_weights(self, place: int, piece: int) -> None:
        """Add gradients of parameters to those of another layer that shares them."""
        node, memory = self.nodes[place], self.memory
        old = self._weights.get(node.step.path)
        self._weights[node.step.path] = piece
        if old is not None:
            self._weights[node.step.path] = memory.make(
                self._trained[place] * self.item
            )
            memory.note("backward", node)
            memory.drop(old)
            memory.drop(piece)
