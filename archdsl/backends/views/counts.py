"""The view of another tool's count, next to MACs."""

from __future__ import annotations

from collections.abc import Sequence

from archdsl.backends.text import show_count

from . import Column, Total, ViewFacts

COLUMNS = (Column("MACs", share="macs"), Column("counted", share="count"))


def cells(layer: ViewFacts) -> tuple[str, ...]:
    """Return MACs, and the tool's count."""
    return show_count(layer["macs"]), show_count(layer["count"] or 0)


def group(layers: Sequence[ViewFacts]) -> tuple[str, ...]:
    """Return the sums of both."""
    return (
        show_count(sum(layer["macs"] for layer in layers)),
        show_count(sum(layer["count"] or 0 for layer in layers)),
    )


def totals(facts: ViewFacts) -> list[Total]:
    """Return the totals of both, with the tool's convention."""
    rows = [("MACs", f"{facts['macs']:,}", "of convolutions and linear layers")]
    count = facts["count"]
    if count is None:
        return [*rows, ("counted", "-", "choose a tool with `--count TOOL`")]
    name = f"{count['tool']}, {count['unit']}"
    note = f"{count['version']}: {count['note']}"
    return [*rows, (name, f"{count['total']:,}", note)]
