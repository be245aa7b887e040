"""The most memory in use at once, in a pass of inference or a step of training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from .dtypes import COUNTER_BYTES, item_bytes
from .gradient import gradients
from .graph import Graph
from .liveness import Usage, inference, training
from .optimizers import state_bytes, step_bytes
from .recompute import regions
from .saved import SAMPLE


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


def inference_peak(graph: Graph, *, dtype: str = "float32") -> Peak:
    """Return the most bytes that a pass of inference uses at once.

    These are parameters and buffers, heads that only train included; the inputs, which
    the caller holds; and the values, as long as the compiled program holds them.

    Raises:
        ValueError: if the dtype is none.
    """
    item = item_bytes(dtype)
    usage = inference(graph, item)
    return _envelope(_lines(usage, sum(_owned(graph, item))))


def training_peak(
    graph: Graph,
    *,
    dtype: str = "float32",
    optimizer: str = "sgd",
    recompute: bool = False,
    first: bool = False,
) -> Peak:
    """Return the most bytes that a training step uses at once.

    The step runs forward, backward and the optimiser, one parameter after the other,
    with the gradients set to None before. See `liveness.training` for what is held.

    Args:
        graph: the network.
        dtype: of parameters and activations.
        optimizer: whose state there is from the step before.
        recompute: whether blocks are run again in the backward pass; see `recompute`.
        first: whether it is the first step, which only makes the optimiser's state.

    Raises:
        ValueError: if the dtype or optimiser is none.
    """
    item = item_bytes(dtype)
    usage = training(graph, item, regions(graph) if recompute else ())
    params, buffers = _owned(graph, item)
    trained = _trained(graph, item)
    state = state_bytes(trained, optimizer)
    before = params + buffers + (0 if first else state)
    end = usage.end + params + buffers + state + step_bytes(trained, optimizer)
    step = Line(end // SAMPLE, end % SAMPLE, "step", "")
    return _envelope([*_lines(usage, before), step])


def _owned(graph: Graph, item: int) -> tuple[int, int]:
    """Return the bytes of parameters and of buffers."""
    params = buffers = 0
    for node in graph.nodes:
        # Weights that an earlier layer has already are not there twice.
        for tensor in () if node.step.shared else node.op.tensors(*node.input_shapes):
            if tensor.trainable:
                params += tensor.elements * item
            else:
                buffers += tensor.elements * (COUNTER_BYTES if tensor.integer else item)
    return params, buffers


def _trained(graph: Graph, item: int) -> list[int]:
    """Return the bytes of each parameter that gets a gradient."""
    reached = gradients(graph)
    return [
        tensor.elements * item
        for node in graph.nodes
        if node.output in reached and not node.step.shared
        for tensor in node.op.tensors(*node.input_shapes)
        if tensor.trainable
    ]


def _lines(usage: Usage, fixed: int) -> list[Line]:
    """Return the line of every moment, with bytes that are always there."""
    return [
        Line(size // SAMPLE, size % SAMPLE + fixed, phase, path)
        for size, (phase, path) in usage.moments.items()
    ]


def _envelope(lines: Iterable[Line]) -> Peak:
    """Return those lines that are the largest for some batch."""
    found: list[Line] = []
    for line in sorted(lines):
        first = 1
        while found:
            first = _crossing(found[-1], line)
            if first > found[-1].first_batch:
                break
            found.pop()
            first = 1
        found.append(line._replace(first_batch=first))
    return Peak(tuple(found))


def _crossing(low: Line, high: Line) -> int:
    """Return the smallest batch at which the steeper of two lines is no less."""
    slope = high.sample_bytes - low.sample_bytes
    if not slope:
        return 1
    return max(1, -((high.fixed_bytes - low.fixed_bytes) // slope))
