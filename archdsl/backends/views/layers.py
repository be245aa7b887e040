"""The default view: output, costs and receptive field of each layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from archdsl.backends.text import (
    show_bytes,
    show_count,
    show_field,
    show_local,
    show_peak,
    show_per_axis,
)

from . import Column, Total, ViewFacts

COLUMNS = (
    Column("params", share="params"),
    Column("MACs", share="macs"),
    Column(
        "receptive field", short="field", right=False, rank=1, moves=True, of_last=True
    ),
)


def cells(layer: ViewFacts) -> tuple[str, ...]:
    """Return parameters, MACs and receptive field."""
    return (
        show_count(layer["params"]),
        show_count(layer["macs"]),
        _field(layer["receptive_field"]),
    )


def group(layers: Sequence[ViewFacts]) -> tuple[str, ...]:
    """Return the sums of parameters and MACs."""
    return (
        show_count(sum(layer["params"] for layer in layers)),
        show_count(sum(layer["macs"] for layer in layers)),
        "",
    )


def totals(facts: ViewFacts) -> list[Total]:
    """Return the sizes of the network, and its memory after a gap."""
    return [*_sizes(facts), ("", "", ""), *_memory(facts["memory"])]


def _field(field: ViewFacts | None) -> str:
    if field is None:
        return "-"
    if field["whole"]:
        return show_field(field)
    return f"{show_field(field)} /{show_per_axis(field['jump'])}"


def _sizes(facts: ViewFacts) -> list[Total]:
    extra = facts["auxiliary"]
    notes = ["not counting buffers"]
    if facts["trainable"] != facts["params"]:
        notes.append(f"{facts['trainable']:,} trainable")
    if extra["params"]:
        inference = facts["params"] - extra["params"]
        notes.append(f"{inference:,} without auxiliary heads")
    return [
        ("params", f"{facts['params']:,}", "; ".join(notes)),
        (
            "buffers",
            f"{facts['buffers']:,}",
            "stored, not trained, such as running statistics",
        ),
        (
            "depth",
            str(facts["depth"]),
            "conv and linear layers on the longest path; shortcut projections and "
            "auxiliary heads not counted",
        ),
        (
            "MACs",
            f"{facts['macs']:,}",
            "multiply-accumulates of conv and linear layers, without biases, per sample"
            + _heads(facts, "macs"),
        ),
        (
            "FLOPs",
            f"{facts['flops']:,}",
            f"2 x MACs plus all other operations{_heads(facts, 'flops')}",
        ),
        *_fields(facts["receptive_field"]),
    ]


def _heads(facts: ViewFacts, figure: str) -> str:
    """Return the share of auxiliary heads, which only run in training."""
    share = facts["auxiliary"][figure]
    if facts["mode"] == "train":
        return f"; {share:,} of them in auxiliary heads" if share else ""
    return f"; auxiliary heads add {share:,} in training" if share else ""


def _fields(field: Mapping[str, Any] | None) -> Iterator[Total]:
    """Yield the network's field, and that along local paths, if it differs."""
    if field is None:
        yield "receptive field", "-", "there is no feature map"
    elif field["whole"]:
        yield "receptive field", show_field(field), "of a unit of the last feature map"
        if field["local"] is not None:
            note = "without global pooling and the like"
            yield "  local paths", show_local(field), note
    else:
        jump = show_per_axis(field["jump"])
        start = ", ".join("nowhere" if n is None else str(n) for n in field["start"])
        note = (
            f"of a unit of the last feature map; units are {jump} apart, the first "
            f"starts at ({start})"
        )
        yield "receptive field", show_field(field), note


def _memory(memory: Mapping[str, Any]) -> list[Total]:
    figures = (
        ("  parameters", "param_bytes", ""),
        ("  buffers", "buffer_bytes", ""),
        ("  gradients", "gradient_bytes", ""),
        ("  optimizer", "optimizer_bytes", f"state of {memory['optimizer']}"),
        ("  saved", "saved_bytes", "activations kept for the backward pass"),
    )
    rows = [(name, show_bytes(memory[key]), note) for name, key, note in figures]
    rows += [
        (
            "  inference",
            show_peak(memory["inference_peak"]),
            "peak of one forward pass",
        ),
        (
            "  training",
            show_peak(memory["training_peak"]),
            "peak of one training step",
        ),
    ]
    return [(f"memory, batch {memory['batch']}, {memory['dtype']}", "", ""), *rows]
