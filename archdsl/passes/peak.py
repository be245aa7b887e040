"""The peak memory of a forward pass in inference, or of a training step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from archdsl.ir.registration import in_torch_order
from archdsl.torch.calls import out_of_order

from .liveness import Moment, Usage, inference, training
from .optimizers import state_bytes, step_bytes
from .recompute import RecomputeChoice, parts
from .saved import SAMPLE, bytes_of
from .setting import DEFAULT
from .tape import Tape

STEP: Final[Moment] = "step", ""


class LinearBytes(NamedTuple):
    """Bytes in use at one moment: `sample_bytes` x batch + `fixed_bytes`.

    Attributes:
        sample_bytes: bytes per sample.
        fixed_bytes: bytes that do not depend on the batch.
        phase: ``forward``, ``backward``, ``recompute`` or ``step``, that of the
            optimiser.
        layer: path of the layer that runs at that moment; empty in the optimiser's
            step.
        first_batch: the smallest batch for which this moment is the peak.
    """

    sample_bytes: int
    fixed_bytes: int
    phase: str
    layer: str
    first_batch: int = 1

    def at(self, batch: int) -> int:
        """Return the bytes for a batch of the given size."""
        return self.sample_bytes * batch + self.fixed_bytes


class Peak(NamedTuple):
    """The peak memory, for every batch size.

    Attributes:
        lines: the moments that are the peak, each up to the first batch of the next
            one.
        bound: ``at least`` if torch may need more, as it copies some maps whose axes
            are out of order in memory; None if the peak is exact.
    """

    lines: tuple[LinearBytes, ...]
    bound: str | None = None

    def line(self, batch: int) -> LinearBytes:
        """Return the line that is the peak for a batch of the given size."""
        return next(n for n in reversed(self.lines) if n.first_batch <= batch)

    def at(self, batch: int) -> int:
        """Return the peak for a batch of the given size."""
        return self.line(batch).at(batch)

    def fits(self, budget: int) -> int:
        """Return the largest batch that fits into the given memory; 0 if none does.

        Each sample needs at least the bytes of the input, so there is a largest batch.
        """
        batches = [(budget - n.fixed_bytes) // n.sample_bytes for n in self.lines]
        return max(0, min(batches))

    def as_dict(self, batch: int) -> dict[str, Any]:
        """Return the figures for a batch of the given size as plain data.

        `to_batch` is the last batch for which the line is the peak, None if there is
        none.
        """
        line = self.line(batch)
        later = self.lines[self.lines.index(line) + 1 :]
        return {
            "bytes": line.at(batch),
            "sample_bytes": line.sample_bytes,
            "fixed_bytes": line.fixed_bytes,
            "from_batch": line.first_batch,
            "to_batch": later[0].first_batch - 1 if later else None,
            "phase": line.phase,
            "layer": line.layer,
            "bound": self.bound,
        }


class InUse(NamedTuple):
    """Bytes in use at one moment, for one batch.

    Attributes:
        phase: ``forward``, ``backward``, ``recompute`` or ``step``, that of the
            optimiser.
        layer: path of the layer that runs at that moment; empty in the optimiser's
            step.
        bytes: bytes in use.
    """

    phase: str
    layer: str
    bytes: int


def inference_peak(tape: Tape, fixed: int) -> Peak:
    """Return the peak memory of a forward pass in inference.

    It consists of parameters and buffers, including those of auxiliary heads; the
    inputs, which the caller holds; and the values, as long as the compiled program
    holds them.

    Args:
        tape: the tape of the network.
        fixed: bytes of parameters and buffers.
    """
    return _envelope(inference(tape).moments, fixed)


def training_peak(
    tape: Tape,
    fixed: int,
    *,
    optimizer: str = DEFAULT.optimizer,
    recompute: RecomputeChoice = False,
    first: bool = False,
) -> Peak:
    """Return the peak memory of a training step.

    The step runs forward pass, backward pass and the optimiser, which updates one
    parameter after the other. Gradients are None at the start. See `liveness.training`
    for what is held.

    Args:
        tape: the tape of the network.
        fixed: bytes of parameters and buffers.
        optimizer: the optimiser, whose state exists from the previous step.
        recompute: whether the backward pass recomputes blocks, or which; see
            `recompute.parts`.
        first: whether it is the first step, which creates the optimiser's state.

    Raises:
        ValueError: if the optimiser is unknown.
    """
    usage, state, at_step = _step(tape, optimizer, recompute)
    if first:
        # The state only exists in the optimiser's step.
        moments, always = {**usage.moments, at_step: STEP}, fixed
    else:
        moments, always = {**usage.moments, at_step - state: STEP}, fixed + state
    # The backward pass of some layers copies what is not in order.
    bound = "at least" if out_of_order(tape.graph) else None
    return _envelope(moments, always)._replace(bound=bound)


def training_timeline(
    tape: Tape,
    fixed: int,
    batch: int,
    *,
    optimizer: str = DEFAULT.optimizer,
    recompute: RecomputeChoice = False,
) -> tuple[InUse, ...]:
    """Return the memory in use over the course of a training step; see `training_peak`.

    Args:
        tape: the tape of the network.
        fixed: bytes of parameters and buffers.
        batch: batch size.
        optimizer: the optimiser, whose state exists from the previous step.
        recompute: as for `training_peak`.

    Raises:
        ValueError: if the optimiser is unknown.
    """
    usage, state, at_step = _step(tape, optimizer, recompute)
    moments = [*usage.timeline, (at_step - state, STEP)]
    always = fixed + state
    return tuple(
        [
            InUse(phase, layer, bytes_of(size, batch) + always)
            for size, (phase, layer) in moments
        ]
    )


def _step(
    tape: Tape, optimizer: str, recompute: RecomputeChoice
) -> tuple[Usage, int, int]:
    """Return the memory of the passes, the optimiser's state, and the memory of its
    step.

    The last includes the state.
    """
    usage = training(tape, [part.places for part in parts(tape.graph, recompute)])
    trained = parameter_bytes(tape)
    state = state_bytes(sum(trained), len(trained), optimizer)
    return usage, state, usage.end + state + step_bytes(trained, optimizer)


def parameter_bytes(tape: Tape) -> list[int]:
    """Return the bytes of each parameter with a gradient, in the module's order."""
    sizes: dict[str, list[int]] = {}
    begins: dict[str, str] = {}
    for node, entry in zip(tape.graph.nodes, tape.entries, strict=True):
        if entry.weights and entry.output in tape.differentiated:
            path, own = node.step.path, [t for t in node.tensors if t.trainable]
            # A parameter of a block itself has the step's path as its key.
            begins[path] = f"{path}." if own[0].name else path
            sizes[begins[path]] = [t.elements * tape.item for t in own]
    steps = tape.graph.network.root.registered_steps()
    paths = dict.fromkeys([step.path for step in steps])
    order = in_torch_order([begins[path] for path in paths if path in begins])
    return [size for begin in order for size in sizes[begin]]


def _envelope(moments: Mapping[int, Moment], fixed: int) -> Peak:
    """Return the moments that are the peak for some batch, plus a constant number of
    bytes.
    """
    steepest: dict[int, int] = {}
    for size in moments:
        slope, low = divmod(size, SAMPLE)
        if low >= steepest.get(slope, -1):
            steepest[slope] = low
    found: list[tuple[int, int, int]] = []
    for slope, low in sorted(steepest.items()):
        first = 1
        while found:
            below, at, start = found[-1]
            # The smallest batch for which this moment needs at least as much.
            first = max(1, -((low - at) // (slope - below)))
            if first > start:
                break
            found.pop()
            first = 1
        found.append((slope, low, first))
    return Peak(
        tuple(
            LinearBytes(slope, low + fixed, *moments[slope * SAMPLE + low], first)
            for slope, low, first in found
        )
    )
