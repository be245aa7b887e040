"""The cheapest parts of a network to recompute, for a step of training to fit.

A state of the search is a place in the network, with the bytes that are kept up to
there and the cost of what is recomputed. From there, the network continues with layers
that are kept, or with a block that is run again as a whole. States that need no less
and cost no less than another are dropped, and so are those that are over the limit in
the backward pass of what comes next, which needs what is kept before it and what it
allocates itself. On a chain of blocks this finds the cheapest set; in other networks it
may not, since what a block allocates can depend on other blocks. Each result is
measured by simulating the whole step, and the search's limit is moved until the
measured peak fits.

Source, for trading computation for memory: Chen et al. 2016, "Training deep nets with
sublinear memory cost".
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, Final, NamedTuple

from archdsl.ir.graph import Graph

from .costs import costs
from .devices import Device
from .liveness import training
from .memory import Memory
from .recompute import Part, candidates
from .roofline import roofline
from .saved import bytes_of

# If a place has more states than this, some are dropped, and the result may not be the
# cheapest. Networks of equal blocks have few, as many choices need the same number of
# bytes.
_MOST_STATES: Final = 1_000
_MOST_TRIES: Final = 12
# Each block is simulated by itself, in time proportional to the network's layers. If
# the product of layers and blocks is larger, only the outermost blocks are tried; if it
# is still larger, they are either all recomputed or none.
_MOST_WORK: Final = 500_000


class TrainingStep(NamedTuple):
    """The memory and time of a step of training.

    Attributes:
        saved_bytes: what autograd keeps between the passes.
        peak_bytes: the peak of its memory.
        flops: operations of both passes, for the batch.
        seconds: the least time of both passes on a device; None without one.
    """

    saved_bytes: int
    peak_bytes: int
    flops: int
    seconds: float | None


class DoesNotFit(ValueError):
    """No set of recomputed parts was found with which a step fits.

    Attributes:
        budget_bytes: what it had to fit into.
        least_bytes: the smallest peak that was found, whatever is recomputed.
    """

    def __init__(self, budget_bytes: int, least_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.least_bytes = least_bytes
        super().__init__(
            f"a step does not fit into {budget_bytes:,} bytes: the smallest need that "
            f"was found is {least_bytes:,}"
        )


@dataclass(frozen=True)
class Lean:
    """The parts to recompute, and what that changes.

    Attributes:
        budget_bytes: what a step had to fit into.
        batch: images of a step.
        parts: paths of the blocks to recompute, in order; empty if the step fits
            without.
        before: a step that keeps everything.
        after: a step that recomputes these parts.
        whole: a step that recomputes all outermost blocks.
    """

    budget_bytes: int
    batch: int
    parts: tuple[str, ...]
    before: TrainingStep
    after: TrainingStep
    whole: TrainingStep

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        steps = ("before", "after", "whole")
        return {
            "budget_bytes": self.budget_bytes,
            "batch": self.batch,
            "parts": list(self.parts),
            **{name: getattr(self, name)._asdict() for name in steps},
        }


def lean(memory: Memory, budget: int, device: Device | None = None) -> Lean:
    """Return the cheapest parts to recompute, for a step of training to fit.

    Blocks are recomputed, however deep they are nested, or named groups if the network
    has no blocks; none of them is inside another. If there are very many blocks, only
    the outermost are tried; if these are very many, too, either all are recomputed or
    none. The cost is in seconds of the roofline model, or in operations if no device is
    given.

    Args:
        memory: the network's, with batch, dtype and optimiser.
        budget: bytes that the peak of a step must not exceed.
        device: the device to estimate times for, if any.

    Raises:
        archdsl.passes.devices.DeviceError: if the device has no rate for the dtype.
        DoesNotFit: if no set that was found fits.
    """
    return _Search(memory, budget, device).run()


class _Move(NamedTuple):
    """A step of the search, from one place in the network to a later one.

    Attributes:
        to: where it ends.
        part: the part that it recomputes; None if everything is kept.
        holds: numbers of the pieces that are kept between them.
        needs: for each layer between them, the pieces kept up to that layer, and the
            bytes in use in its backward pass beyond these and what was kept before.
        cost: cost of running it again.
    """

    to: int
    part: Part | None
    holds: frozenset[int]
    needs: tuple[tuple[frozenset[int], int], ...]
    cost: float


class _State(NamedTuple):
    """A choice of what to recompute up to some place.

    Attributes:
        bytes: bytes that are kept.
        cost: cost of what is run again.
        peak: the most bytes in use so far.
        before: the state before it.
        part: the part that is recomputed last, if any.
    """

    bytes: int
    cost: float
    peak: int
    before: _State | None
    part: Part | None


class _Search:
    """Looks for the parts to recompute."""

    def __init__(self, memory: Memory, budget: int, device: Device | None) -> None:
        self.memory = replace(memory, recompute=False)
        self.graph: Graph = memory.graph
        self.budget = budget
        work = costs(self.graph, batch=memory.batch, dtype=memory.dtype, training=True)
        layers = zip(self.graph.nodes, work.layers, strict=True)
        self.flops = [one.batch_flops for _, one in layers]
        backward = [
            flops + 2 * memory.batch * (one.backward_macs - one.cost.macs)
            for flops, one in zip(self.flops, work.layers, strict=True)
        ]
        self.all_flops = sum(self.flops) + sum(backward)
        self.seconds: list[float] | None = None
        self.all_seconds: float | None = None
        if device is not None:
            self.all_seconds = roofline(self.graph, work, device).seconds
            once = roofline(self.graph, work, device, forward_only=True)
            self.seconds = [one.seconds if one else 0.0 for one in once.layers]

    def run(self) -> Lean:
        before, whole = self.step(()), self.step(self.outermost)
        if before.peak_bytes <= self.budget:
            return self._lean((), before, before, whole)
        self.least = min(before.peak_bytes, whole.peak_bytes)
        chosen, after = self._cheapest()
        if whole.peak_bytes <= self.budget and (
            after is None or _cost(whole) < _cost(after)
        ):
            chosen, after = self.outermost, whole
        if after is None:
            raise DoesNotFit(self.budget, self.least)
        return self._lean(chosen, before, after, whole)

    def _lean(
        self,
        chosen: Sequence[Part],
        before: TrainingStep,
        after: TrainingStep,
        whole: TrainingStep,
    ) -> Lean:
        paths = tuple(dict.fromkeys(part.path for part in chosen))
        return Lean(self.budget, self.memory.batch, paths, before, after, whole)

    # ---- the memory and time of a choice, by the figures of the analysis

    def step(self, chosen: Sequence[Part]) -> TrainingStep:
        """Return the memory and time of a step that recomputes some parts."""
        paths = frozenset(part.path for part in chosen)
        memory = replace(self.memory, recompute=paths)
        again = [at for part in chosen for at in self._rerun(part)]
        seconds = self.all_seconds
        if seconds is not None and self.seconds is not None:
            seconds += sum(self.seconds[at] for at in again)
        return TrainingStep(
            memory.saved_bytes,
            memory.training_peak_bytes,
            self.all_flops + sum(self.flops[at] for at in again),
            seconds,
        )

    def _rerun(self, part: Part) -> range:
        """Return the layers of a part up to the last one that keeps anything."""
        entries = self.memory.tape.entries
        savers = [at for at in part.places if entries[at].is_kept]
        return range(part.places.start, savers[-1] + 1 if savers else part.places.start)

    def _cost_of(self, part: Part) -> float:
        costs: Sequence[float] = self.seconds or self.flops
        return sum(costs[at] for at in self._rerun(part))

    # ---- the search

    @cached_property
    def outermost(self) -> tuple[Part, ...]:
        """The outermost blocks, which are recomputed if nothing is chosen."""
        return candidates(self.graph)

    @cached_property
    def able(self) -> list[Part]:
        """The blocks that can be recomputed by themselves, in the order of nesting."""
        for found in (candidates(self.graph, nested=True), self.outermost):
            times = Counter(part.path for part in found)
            able = [p for p in found if times[p.path] == 1 and self._rerun(p)]
            if len(able) * len(self.graph.nodes) <= _MOST_WORK:
                return able
        return []

    def _cheapest(self) -> tuple[tuple[Part, ...], TrainingStep | None]:
        """Return the cheapest parts with which a step fits, if any were found."""
        best: tuple[tuple[Part, ...], TrainingStep | None] = (), None
        limit = self.budget
        known: set[tuple[Part, ...]] = set()
        for _ in range(_MOST_TRIES):
            end = self._within(limit)
            chosen = _parts_to(end)
            if end is None or chosen in known:
                break
            known.add(chosen)
            step = self.step(chosen)
            self.least = min(self.least, step.peak_bytes)
            # The search's own peak may differ a little from the measured one.
            off = end.peak - step.peak_bytes
            if step.peak_bytes > self.budget:
                limit = min(limit - 1, self.budget + off)
                continue
            if best[1] is None or _cost(step) < _cost(best[1]):
                best = chosen, step
            limit = max(limit, self.budget + off)
        return best if best[1] is not None else self._leanest()

    def _leanest(self) -> tuple[tuple[Part, ...], TrainingStep | None]:
        """Return the parts with the smallest peak of the search, if they fit."""
        # Bisection for the smallest limit with a solution, to 1/256 of the peak.
        low, high = 0, self.least
        found: tuple[Part, ...] = ()
        while high - low > self.least >> 8:
            middle = (low + high) // 2
            end = self._within(middle)
            if end is None:
                low = middle
            else:
                high, found = min(middle, end.peak), _parts_to(end)
        step = self.step(found)
        self.least = min(self.least, step.peak_bytes)
        return (found, step) if step.peak_bytes <= self.budget else ((), None)

    def _within(self, limit: int) -> _State | None:
        """Return the last state of the cheapest choice within a limit."""
        number = len(self.graph.nodes)
        # By place, and by those kept pieces that later moves may hold, too: these are
        # counted once, so only states that share them can be compared.
        states: defaultdict[int, dict[frozenset[int], list[_State]]]
        states = defaultdict(lambda: defaultdict(list))
        states[0][frozenset()].append(_State(0, 0.0, 0, None, None))
        for place in sorted(self.moves):
            for held, found in states.pop(place, {}).items():
                left = _undominated(found)
                for move in self.moves[place]:
                    new = self._bytes(move.holds - held)
                    need = max([self._bytes(p - held) + n for p, n in move.needs])
                    to = states[move.to][(held | move.holds) & self.later[move.to]]
                    to += [
                        _State(
                            state.bytes + new,
                            state.cost + move.cost,
                            max(state.peak, state.bytes + need),
                            state,
                            move.part,
                        )
                        for state in left
                        if state.bytes + need <= limit
                    ]
        ends = [state for found in states[number].values() for state in found]
        return min(ends, key=lambda one: (one.cost, one.peak), default=None)

    def _bytes(self, pieces: Iterable[int]) -> int:
        return sum([self.pieces[one] for one in pieces])

    # ---- the tables that the search reads

    @cached_property
    def pieces(self) -> Mapping[int, int]:
        """The bytes of what can be kept: values by number, and what layers create for
        it by ``~place``. The caller holds inputs and outputs in any case.
        """
        tape, batch = self.memory.tape, self.memory.batch
        found = {value: bytes_of(size, batch) for value, size in tape.sizes.items()}
        for at, entry in enumerate(tape.entries):
            found[~at] = bytes_of(entry.own, batch)
        home = self.memory.homes
        for value in (*self.graph.inputs, *self.graph.outputs(training=True)):
            found[home[value]] = 0
        return found

    @cached_property
    def kept(self) -> list[frozenset[int]]:
        """The pieces that each layer keeps."""
        home = self.memory.homes
        return [
            frozenset([home[v] for v in entry.keeps] + [~at] * bool(entry.own))
            for at, entry in enumerate(self.memory.tape.entries)
        ]

    @cached_property
    def moves(self) -> dict[int, list[_Move]]:
        """The moves from each place: the layers up to the next place, or a block."""
        number = len(self.graph.nodes)
        spans = [part.places for part in self.able]
        places = sorted({0, number, *(n for s in spans for n in (s.start, s.stop))})
        alone = self._needs(())
        found: dict[int, list[_Move]] = {place: [] for place in places[:-1]}
        for start, stop in pairwise(places):
            pieces: frozenset[int] = frozenset()
            before = self._held(range(start))
            needs = []
            for at in range(start, stop):
                pieces |= self.kept[at]
                own = self._bytes(before | pieces)
                needs.append((pieces, alone.get(at, 0) - own))
            found[start].append(_Move(stop, None, pieces, tuple(needs), 0.0))
        home = self.memory.homes
        for part in self.able:
            holds = frozenset(home[value] for value in part.reads)
            span = part.places
            own = self._bytes(self._held(range(span.start)) | holds)
            used = self._needs((span,))
            most = max([used.get(at, 0) for at in span]) - own
            cost = self._cost_of(part)
            move = _Move(span.stop, part, holds, ((holds, most),), cost)
            found[span.start].append(move)
        return found

    def _held(self, places: range) -> frozenset[int]:
        return frozenset().union(*[self.kept[at] for at in places])

    def _needs(self, regions: tuple[range, ...]) -> dict[int, int]:
        """Return the most bytes in use in the backward pass of each layer."""
        tape, batch = self.memory.tape, self.memory.batch
        fixed = self.memory.fixed_bytes + self.memory.optimizer_bytes
        places = {entry.path: at for at, entry in enumerate(tape.entries)}
        found: dict[int, int] = {}
        for size, (phase, path) in training(tape, regions).timeline:
            if phase != "forward":
                at, total = places[path], bytes_of(size, batch) + fixed
                found[at] = max(found.get(at, 0), total)
        return found

    @cached_property
    def later(self) -> dict[int, frozenset[int]]:
        """The pieces that moves from a place on can hold, by place."""
        found: dict[int, frozenset[int]] = {len(self.graph.nodes): frozenset()}
        known: frozenset[int] = frozenset()
        for place in sorted(self.moves, reverse=True):
            for move in self.moves[place]:
                known |= move.holds
                known = known.union(*[pieces for pieces, _ in move.needs])
            found[place] = known
        return found


def _cost(step: TrainingStep) -> float:
    return step.flops if step.seconds is None else step.seconds


def _parts_to(state: _State | None) -> tuple[Part, ...]:
    """Return the parts that a state recomputes, in order."""
    found = []
    while state is not None:
        if state.part is not None:
            found.append(state.part)
        state = state.before
    return tuple(reversed(found))


def _undominated(states: Sequence[_State]) -> list[_State]:
    """Return the states that no other state dominates in bytes and cost."""
    found: list[_State] = []
    for state in sorted(states, key=lambda one: (one.bytes, one.cost)):
        if not found or state.cost < found[-1].cost:
            found.append(state)
    apart = len(found) // _MOST_STATES + 1
    return [*found[:-1:apart], found[-1]] if apart > 1 else found
