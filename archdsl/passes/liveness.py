"""The memory in use at each moment of inference or of a training step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .tape import Tape, TapeEntry

# A moment of a run: ``forward``, ``backward`` or ``recompute``, and the path of the
# layer that runs.
Moment = tuple[str, str]


class _Memory:
    """Allocations while a program runs; each is freed when its last holder is gone.

    Attributes:
        total: bytes allocated at present.
        moments: each size that the total had, with the first moment at which it did.
        timeline: all sizes in order.
    """

    def __init__(self) -> None:
        self.total = 0
        self.moments: dict[int, Moment] = {}
        self.timeline: list[tuple[int, Moment]] = []
        self.sizes: list[int] = []
        self.holders: list[int] = []

    def make(self, size: int) -> int:
        """Allocate a piece of memory with one holder; return its number."""
        self.total += size
        self.sizes.append(size)
        self.holders.append(1)
        return len(self.sizes) - 1

    def hold(self, piece: int) -> int:
        """Add a holder to a piece."""
        self.holders[piece] += 1
        return piece

    def drop(self, piece: int) -> None:
        """Remove a holder; if it was the last one, the piece is freed."""
        self.holders[piece] -= 1
        if not self.holders[piece]:
            self.total -= self.sizes[piece]

    def note(self, phase: str, entry: TapeEntry, more: int = 0) -> None:
        """Record the total while a layer runs, with a temporary size on top."""
        total, moment = self.total + more, (phase, entry.path)
        self.moments.setdefault(total, moment)
        self.timeline.append((total, moment))


class Usage(NamedTuple):
    """Memory in use, without parameters, buffers and the optimiser's state.

    Attributes:
        moments: sizes, each with the first moment at which it is in use.
        end: the size at the end; in training, it includes all gradients of parameters.
        timeline: the sizes in order, one or more for each layer that runs.
    """

    moments: Mapping[int, Moment]
    end: int
    timeline: Sequence[tuple[int, Moment]]


def inference(tape: Tape) -> Usage:
    """Return the memory that a forward pass uses without autograd.

    The caller holds the inputs.
    """
    run = _Run(tape, training=False)
    for place in range(len(run.entries)):
        run.forward(place, "forward")
        run.free(place)
    return run.usage()


def training(tape: Tape, regions: Sequence[range] = ()) -> Usage:
    """Return the memory that the forward and backward pass of a training step use.

    The caller holds inputs and outputs. The gradient of each output is a separate
    tensor, as with a mean or cross entropy; what the loss itself keeps is not counted.
    The parameters have no gradients at the start, as after `zero_grad`.

    Args:
        tape: the tape of the network.
        regions: places of the layers of each part that the backward pass recomputes;
            see `recompute.parts`.
    """
    run = _Step(tape, regions)
    for place in range(len(run.entries)):
        run.step_forward(place)
    run.step_backward()
    return run.usage()


class _Run:
    """A run of a network's layers in one mode.

    Attributes:
        entries: the layers that run, in order.
        memory: the allocations.
        pieces: the piece of memory that each value is stored in.
        overwritten: values stored in the memory of what they are computed from.
        frees: for each layer, the values that the program no longer holds after it.
    """

    def __init__(self, tape: Tape, *, training: bool) -> None:
        graph, held = tape.graph, tape.frames[training]
        self.tape = tape
        self.training = training
        parts = [part for entry in tape.entries for part in entry.operations]
        by_output = {part.output: part for part in parts}
        self.entries = [by_output[value] for value in held.order]
        self.memory = _Memory()
        self.overwritten = tape.overwritten - held.lent
        callers = {*graph.inputs, *graph.outputs(training)}
        self.frees: list[list[int]] = [[] for _ in held.order]
        for value, place in held.until.items():
            if value not in callers:
                self.frees[place].append(value)
        self.pieces = {v: self.memory.make(tape.sizes[v]) for v in graph.inputs}
        self.memory.moments[self.memory.total] = "forward", ""

    def usage(self) -> Usage:
        """Return the memory in use so far."""
        memory = self.memory
        return Usage(memory.moments, memory.total, memory.timeline)

    def forward(self, place: int, phase: str) -> None:
        """Run a layer without autograd."""
        entry = self.entries[place]
        if entry.before:
            self.memory.note(phase, entry, entry.before)
        self.make(entry)
        more = entry.forward + entry.own if self.training else entry.inference
        self.memory.note(phase, entry, more)

    def make(self, entry: TapeEntry, *, recorded: bool = False) -> None:
        """Allocate a layer's output, or reuse the memory of its input if possible.

        Args:
            entry: the layer.
            recorded: whether autograd records it. A copy that autograd then keeps of
                an overwritten input counts as that input, and the output as new.
        """
        made = entry.output
        copies = recorded and made in self.tape.copying
        reuses = made in self.overwritten and not copies
        if entry.views[self.training] or reuses:
            self.pieces[made] = self.memory.hold(self.pieces[entry.inputs[0]])
        else:
            self.pieces[made] = self.memory.make(entry.size)

    def free(self, place: int) -> None:
        """Release the values that the program no longer holds after a layer."""
        for value in self.frees[place]:
            self.memory.drop(self.pieces[value])


class _Region:
    """A part of the network that the backward pass recomputes.

    Attributes:
        places: places of its layers.
        savers: places of its layers for which autograd keeps something.
        reads: values that it reads from outside.
        held: pieces of these, as long as the backward pass needs them.
        is_done: whether it has been recomputed.
    """

    def __init__(self, places: range, entries: Sequence[TapeEntry]) -> None:
        own = [entries[at] for at in places]
        made = {entry.output for entry in own}
        self.places = places
        self.savers = [at for at in places if entries[at].is_kept]
        self.reads = {v for entry in own for v in entry.inputs if v not in made}
        self.held: list[int] = []
        self.is_done = False


class _Step(_Run):
    """The forward and backward pass of a training step."""

    def __init__(self, tape: Tape, regions: Sequence[range]) -> None:
        super().__init__(tape, training=True)
        self.saved: dict[int, list[int]] = {}
        self.gradients: dict[int, int] = {}
        self.weights: dict[str, int] = {}
        self.deaths = self._deaths()
        self.regions: dict[int, _Region] = {}
        order = {value: place for place, value in enumerate(tape.frames[True].order)}
        for part in regions:
            steps = [step for at in part for step in tape.entries[at].operations]
            own = [order[step.output] for step in steps]
            places = range(min(own), max(own) + 1)
            region = _Region(places, self.entries)
            if region.savers:
                self.regions.update(dict.fromkeys(places, region))

    def _deaths(self) -> list[list[int]]:
        """Return after which layers autograd lets go of what it keeps for others.

        It keeps something for a layer without a backward pass as long as there is a
        value that is computed from it.
        """
        until = dict(self.tape.frames[True].until)
        found: list[list[int]] = [[] for _ in self.entries]
        for entry in reversed(self.entries):
            if entry.is_dead:
                end = until[entry.output]
                found[end].append(entry.output)
                for value in entry.sources:
                    until[value] = max(until.get(value, end), end)
        return found

    # ---- forward

    def step_forward(self, place: int) -> None:
        """Run a layer of the forward pass."""
        region = self.regions.get(place)
        if region is None:
            self.forward_kept(self.entries[place], "forward")
        else:
            if place == region.places[0]:
                region.held = [self.memory.hold(self.pieces[v]) for v in region.reads]
            self.forward(place, "forward")
        self.free(place)
        for value in self.deaths[place]:
            for piece in self.saved.pop(value, ()):
                self.memory.drop(piece)

    def forward_kept(
        self, entry: TapeEntry, phase: str, *, stops: bool = False
    ) -> None:
        """Run a layer, and keep what autograd needs of it.

        Args:
            entry: the layer.
            phase: as in `Moment`.
            stops: whether it only keeps what it reads.
        """
        if entry.before:
            self.memory.note(phase, entry, entry.before)
        if not stops:
            self.make(entry, recorded=True)
        if not entry.is_dead or phase == "forward":
            self.keep(entry)
        if not stops:
            self.memory.note(phase, entry, entry.forward)

    def keep(self, entry: TapeEntry) -> None:
        """Hold what autograd keeps for a layer."""
        held = [self.memory.hold(self.pieces[value]) for value in entry.keeps]
        if entry.own:
            held.append(self.memory.make(entry.own))
        self.saved[entry.output] = held

    def recompute(self, region: _Region) -> None:
        """Recompute a part, until everything exists that its backward pass needs."""
        region.is_done = True
        last = region.savers[-1]
        alive: set[int] = set()
        for place in range(region.places[0], last + 1):
            entry = self.entries[place]
            made = entry.output
            after = entry.own or made in entry.keeps or made in self.tape.copying
            if place == last and not after:
                # Everything is kept before its end, so that need not run again.
                self.forward_kept(entry, "recompute", stops=True)
                break
            self.forward_kept(entry, "recompute")
            alive.add(entry.output)
            for value in alive.intersection(self.frees[place]):
                alive.remove(value)
                self.memory.drop(self.pieces[value])
        for value in alive:
            self.memory.drop(self.pieces[value])

    # ---- backward

    def step_backward(self) -> None:
        """Run the backward pass; autograd processes layers from last to first."""
        if not self.entries:
            return
        last = self.entries[-1]
        for value in self.tape.graph.outputs(training=True):
            if value in self.tape.differentiated:
                self.add(value, self.memory.make(self.tape.sizes[value]), last)
        self.memory.note("backward", last)
        for place in range(len(self.entries) - 1, -1, -1):
            if self.entries[place].output in self.gradients:
                self.backward(place)

    def backward(self, place: int) -> None:
        """Run the backward pass of a layer."""
        entry, region = self.entries[place], self.regions.get(place)
        if region is not None and entry.is_kept and not region.is_done:
            self.recompute(region)
        is_last = region is not None and place == region.savers[0]
        self.undo(entry, region.held if region and is_last else ())

    def undo(self, entry: TapeEntry, held: Sequence[int]) -> None:
        """Run the backward pass of an operation, which consumes its output's gradient.

        Args:
            entry: the operation.
            held: pieces that nothing needs after it.
        """
        memory, gradient = self.memory, self.gradients.pop(entry.output)
        if entry.shares:
            made = [memory.hold(gradient) for _ in entry.asked]
        else:
            made = [memory.make(self.tape.sizes[value]) for value in entry.asked]
        weights = memory.make(entry.weights) if entry.weights else None
        memory.note("backward", entry, entry.backward - entry.late)
        memory.drop(gradient)
        for piece in (*self.saved.pop(entry.output, ()), *held):
            memory.drop(piece)
        if entry.after:
            memory.note("backward", entry, entry.after)
        for value, piece in zip(entry.asked, made, strict=True):
            self.add(value, piece, entry)
        if entry.last:
            memory.note("backward", entry, entry.last)
        if weights is not None:
            self.add_weights(weights, entry)

    def add(self, value: int, piece: int, entry: TapeEntry) -> None:
        """Add a gradient to the sum so far for a value, in new memory."""
        value = self.tape.same.get(value, value)  # a product has no other name
        old = self.gradients.get(value)
        if old is None:
            self.gradients[value] = piece
        else:
            size = self.tape.sizes[value]
            self.gradients[value] = self.sum(old, piece, size, entry)

    def add_weights(self, piece: int, entry: TapeEntry) -> None:
        """Add gradients of parameters to those of the layer that shares them."""
        old = self.weights.get(entry.path)
        if old is not None:
            piece = self.sum(old, piece, entry.weights, entry)
        self.weights[entry.path] = piece

    def sum(self, old: int, new: int, size: int, entry: TapeEntry) -> int:
        """Return the piece of the sum of two pieces, and release both."""
        made = self.memory.make(size)
        self.memory.note("backward", entry)
        self.memory.drop(old)
        self.memory.drop(new)
        return made
