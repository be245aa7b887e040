"""The peak memory of a forward pass in inference, or of a training step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from .liveness import Moment, Usage, inference, training
from .optimizers import state_bytes, step_bytes
from .recompute import parts
from .saved import SAMPLE, bytes_of
from .tape import Tape

STEP: Final[Moment] = "step", ""


class Line(NamedTuple):
    """Bytes in use at one moment: `sample_bytes` x batch + `fixed_bytes`.

    Attributes:
        sample_bytes: for each sample.
        fixed_bytes: whatever the batch.
        phase: ``forward``, ``backward``, ``recompute`` or ``step``, the optimiser's.
        layer: path of the layer that runs then; empty in the optimiser's step.
        first_batch: the smallest batch for which no other moment needs more.
    """

    sample_bytes: int
    fixed_bytes: int
    phase: str
    layer: str
    first_batch: int = 1

    def at(self, batch: int) -> int:
        """Return the bytes for a batch of that many samples."""
        return self.sample_bytes * batch + self.fixed_bytes


class Peak(NamedTuple):
    """The most bytes in use at once, for every batch.

    Attributes:
        lines: the moments that need most, each up to the batch before the next one's
            first.
    """

    lines: tuple[Line, ...]

    def line(self, batch: int) -> Line:
        """Return the line that holds for a batch of that many samples."""
        return next(n for n in reversed(self.lines) if n.first_batch <= batch)

    def at(self, batch: int) -> int:
        """Return the most bytes for a batch of that many samples."""
        return self.line(batch).at(batch)

    def fits(self, budget: int) -> int:
        """Return the largest batch that needs no more bytes than that; 0 if none does.

        Each sample takes some, at least those of the input, so that there is one.
        """
        batches = [(budget - n.fixed_bytes) // n.sample_bytes for n in self.lines]
        return max(0, min(batches))

    def as_dict(self, batch: int) -> dict[str, Any]:
        """Return the figures for a batch of that many samples as plain data.

        `to_batch` is the last batch for which the line holds, None if there is none.
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
        }


class InUse(NamedTuple):
    """Bytes in use at one moment, for one batch.

    Attributes:
        phase: ``forward``, ``backward``, ``recompute`` or ``step``, the optimiser's.
        layer: path of the layer that runs then; empty in the optimiser's step.
        bytes: in use.
    """

    phase: str
    layer: str
    bytes: int


def inference_peak(tape: Tape, fixed: int) -> Peak:
    """Return the most bytes that a pass of inference uses at once.

    These are parameters and buffers, heads that only train included; the inputs, which
    the caller holds; and the values, as long as the compiled program holds them.

    Args:
        tape: of the network.
        fixed: bytes of parameters and buffers.
    """
    return _envelope(inference(tape).moments, fixed)


def training_peak(
    tape: Tape,
    fixed: int,
    *,
    optimizer: str = "sgd",
    recompute: bool = False,
    first: bool = False,
) -> Peak:
    """Return the most bytes that a training step uses at once.

    The step runs forward, backward and the optimiser, one parameter after the other,
    with the gradients set to None before. See `liveness.training` for what is held.

    Args:
        tape: of the network.
        fixed: bytes of parameters and buffers.
        optimizer: whose state there is from the step before.
        recompute: whether blocks are run again in the backward pass; see
            `recompute.parts`.
        first: whether it is the first step, which only makes the optimiser's state.

    Raises:
        ValueError: if the optimiser is none.
    """
    usage, state, at_step = _step(tape, optimizer, recompute)
    if first:
        # The state is only there in the optimiser's step.
        moments = {**usage.moments, at_step: STEP}
        return _envelope(moments, fixed)
    moments = {**usage.moments, at_step - state: STEP}
    return _envelope(moments, fixed + state)


def training_timeline(
    tape: Tape,
    fixed: int,
    batch: int,
    *,
    optimizer: str = "sgd",
    recompute: bool = False,
) -> tuple[InUse, ...]:
    """Return what a training step uses from moment to moment; see `training_peak`.

    Args:
        tape: of the network.
        fixed: bytes of parameters and buffers.
        batch: samples at a time.
        optimizer: whose state there is from the step before.
        recompute: whether blocks are run again in the backward pass.

    Raises:
        ValueError: if the optimiser is none.
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


def _step(tape: Tape, optimizer: str, recompute: bool) -> tuple[Usage, int, int]:
    """Return what the passes use, the optimiser's state, and what its step uses.

    The last includes the state.
    """
    usage = training(
        tape, [part.places for part in parts(tape.graph)] if recompute else ()
    )
    trained = parameters(tape)
    state = state_bytes(sum(trained), len(trained), optimizer)
    return usage, state, usage.end + state + step_bytes(trained, optimizer)


def parameters(tape: Tape) -> list[int]:
    """Return the bytes of each parameter that gets a gradient, in order."""
    nodes = zip(tape.graph.nodes, tape.entries, strict=True)
    item = tape.item
    return [
        tensor.elements * item
        for node, entry in nodes
        if entry.weights
        and entry.output in tape.differentiated
        and not node.step.shared
        for tensor in node.tensors
        if tensor.trainable
    ]


def _envelope(moments: Mapping[int, Moment], fixed: int) -> Peak:
    """Return the moments that need most for some batch, with bytes always there."""
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
            # The smallest batch for which this one needs no less.
            first = max(1, -((low - at) // (slope - below)))
            if first > start:
                break
            found.pop()
            first = 1
        found.append((slope, low, first))
    return Peak(
        tuple(
            Line(slope, low + fixed, *moments[slope * SAMPLE + low], first)
            for slope, low, first in found
        )
    )
