"""The view of costs: operations and memory traffic of each layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from archdsl.backends.text import show_bytes, show_count

from . import Column, Total, ViewFacts

COLUMNS = (
    Column("MACs", share="macs"),
    Column("bias", rank=6),
    Column("norm", rank=4),
    Column("activation", short="act.", rank=4),
    Column("pool", rank=5),
    Column("add", rank=5),
    Column("other", rank=6),
    Column("read", rank=1),
    Column("written", rank=1),
    Column("FLOPs/byte", short="FLOPs/B", rank=2),
    Column("backward MACs", short="backward", rank=3),
)

_OPS: Final = (
    ("bias", "additions of biases"),
    ("norm", "operations of normalisation layers"),
    ("activation", "operations of activations; a relu is one comparison"),
    ("pool", "comparisons, sums and divisions in pooling windows"),
    ("add", "elementwise sums and products of branches"),
    ("other", "everything else, such as softmax, interpolation and dropout"),
)


def cells(layer: ViewFacts) -> tuple[str, ...]:
    """Return MACs, operations by purpose, bytes, their ratio and backward MACs."""
    return group([layer])


def group(layers: Sequence[ViewFacts]) -> tuple[str, ...]:
    """Return the sums of the same, and the ratio of the sums."""
    read = sum(layer["bytes_read"] for layer in layers)
    written = sum(layer["bytes_written"] for layer in layers)
    flops = sum(layer["batch_flops"] for layer in layers)
    return (
        show_count(sum(layer["macs"] for layer in layers)),
        *(show_count(sum(layer["ops"][name] for layer in layers)) for name, _ in _OPS),
        show_bytes(read) if read else "-",
        show_bytes(written) if written else "-",
        _ratio(flops / (read + written) if read + written else None),
        show_count(sum(layer["backward_macs"] for layer in layers)),
    )


def totals(facts: ViewFacts) -> list[Total]:
    """Return the network's totals: for one sample, then for the batch after a gap."""
    return [*_sample(facts["costs"]), ("", "", ""), *_batch(facts["costs"])]


def _sample(costs: ViewFacts) -> list[Total]:
    """Return the totals for one sample."""
    heads, training = costs["auxiliary"], costs["mode"] == "train"

    def row(name: str, total: int, part: int, note: str) -> Total:
        return name, f"{total:,}", note + _heads(f"{part:,}" if part else "", training)

    return [
        (f"for one sample, {_MODES[costs['mode']]}", "", ""),
        row(
            "  MACs", costs["macs"], heads["macs"], "of convolutions and linear layers"
        ),
        *(
            row(f"  {name}", costs["ops"][name], heads["ops"][name], note)
            for name, note in _OPS
        ),
        row(
            "  FLOPs", costs["flops"], heads["flops"], "2 x MACs plus all of the above"
        ),
        row(
            "  backward MACs",
            costs["backward_macs"],
            heads["backward_macs"],
            "for gradients of weights, and of inputs that depend on a parameter",
        ),
    ]


def _batch(costs: ViewFacts) -> list[Total]:
    """Return the totals for the batch."""
    once = costs["ops_per_batch"]
    more = f", plus {once:,} for statistics, once per batch" if once else ""
    return [
        (f"batch {costs['batch']}, {costs['dtype']}", "", ""),
        ("  FLOPs", f"{costs['batch_flops']:,}", f"of all samples{more}"),
        (
            "  read",
            show_bytes(costs["bytes_read"]),
            "each layer's inputs, parameters and buffers, once; views read nothing",
        ),
        (
            "  written",
            show_bytes(costs["bytes_written"]),
            "each layer's output"
            + (
                ", whatever else it keeps for the backward pass, running statistics"
                if costs["mode"] == "train"
                else ""
            ),
        ),
        ("  FLOPs/byte", _ratio(costs["intensity"]), "arithmetic intensity"),
    ]


_MODES: Final = {"eval": "inference", "train": "training"}


def _heads(figure: str, training: bool) -> str:
    """Return a note on the share of auxiliary heads."""
    if not figure:
        return ""
    return f"; {figure} {'of them' if training else 'more'} in auxiliary heads"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"
