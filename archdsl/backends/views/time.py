"""The view of time: a lower bound for each layer on a device, and what bounds it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from archdsl.backends.text import show_bytes, show_count

from . import Column, Total, ViewFacts

COLUMNS = (
    Column("compute", rank=2),
    Column("memory", rank=2),
    Column("time"),
    Column("bound by", right=False, rank=1),
)

_SLOWEST: Final = 3


def cells(layer: ViewFacts) -> tuple[str, ...]:
    """Return the times for operations and bytes, the larger one, and which it is."""
    time = layer.get("time")
    if not time or time["bound"] is None:
        return ("-", "-", "-", "-")
    return (
        show_seconds(time["compute_seconds"]),
        show_seconds(time["memory_seconds"]),
        show_seconds(time["seconds"]),
        time["bound"],
    )


def group(layers: Sequence[ViewFacts]) -> tuple[str, ...]:
    """Return the sums of the times, and the share that is bound by memory."""
    times = [layer["time"] for layer in layers if layer.get("time")]
    seconds = sum(time["seconds"] for time in times)
    if not seconds:
        return ("-", "-", "-", "-")
    memory = sum(time["seconds"] for time in times if time["bound"] == "memory")
    return (
        show_seconds(sum(time["compute_seconds"] for time in times)),
        show_seconds(sum(time["memory_seconds"] for time in times)),
        show_seconds(seconds),
        f"memory {_percent(memory / seconds)}",
    )


def totals(facts: ViewFacts) -> list[Total]:
    """Return the time of the network, what bounds it, and what it was computed from."""
    time = facts.get("time")
    if not time:
        return [("time", "-", "choose a device with `--device NAME`")]
    return [
        *_whole(time),
        *_shares(time, facts["layers"]),
        ("", "", ""),
        *_device(time),
    ]


def show_seconds(seconds: float) -> str:
    """Return a time with three digits, in the largest unit that leaves one or more."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{_digits(seconds / size)} {unit}"
    return f"{_digits(seconds * 1e6)} us"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:#.3g}".rstrip(".")


def _whole(time: ViewFacts) -> list[Total]:
    what = {
        "eval": "inference",
        "train": "forward and backward pass, without loss and optimizer",
    }[time["mode"]]
    rate = time["samples_per_second"]
    return [
        (
            "time at least",
            show_seconds(time["seconds"]),
            f"{what}, batch {time['batch']}, {time['dtype']}{_rounding(time)}; "
            "one kernel per layer, none fused",
        ),
        (
            "throughput at most",
            "-" if rate is None else f"{rate:,.0f}",
            "samples per second",
        ),
    ]


def _rounding(time: ViewFacts) -> str:
    return " (tf32 in convolutions)" if time["tf32"] else ""


def _shares(time: ViewFacts, layers: Sequence[ViewFacts]) -> list[Total]:
    rows = []
    for bound, seconds in time["bound_seconds"].items():
        found = [
            layer
            for layer in layers
            if layer.get("time") and layer["time"]["bound"] == bound
        ]
        if found:
            share = _percent(seconds / time["seconds"])
            rows.append((f"  bound by {bound}", share, _slowest(found)))
    return rows


def _slowest(layers: Sequence[ViewFacts]) -> str:
    """Name some of the layers that take longest."""
    ordered = sorted(layers, key=lambda layer: -layer["time"]["seconds"])
    names = ", ".join(layer["name"] for layer in ordered[:_SLOWEST])
    count = len(layers)
    what = "1 layer" if count == 1 else f"{show_count(count)} layers"
    return f"of the time in {what}: {names}" + (", ..." if count > _SLOWEST else "")


def _device(time: ViewFacts) -> list[Total]:
    source = f" ({time['source']})" if time["source"] else ""
    rows = [
        ("device", time["device"], f"{time['title']}{source}"),
        (
            "ridge",
            f"{time['ridge']:,.1f}",
            "FLOPs/byte; above it a convolution is bound by compute",
        ),
    ]
    if time["memory_bytes"]:
        rows.append(("memory", show_bytes(time["memory_bytes"]), "of the device"))
    if time["launch_seconds"]:
        launch = show_seconds(time["launch_seconds"])
        rows.append(
            ("launch", launch, "shortest time between the starts of two kernels")
        )
    return rows


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
