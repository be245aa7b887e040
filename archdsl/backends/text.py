"""Columns and units, shared by all tables for terminals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from archdsl.values import show_shape


def align(rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> list[str]:
    """Return rows of cells as lines with aligned columns.

    Args:
        rows: rows with equally many cells.
        right: indices of the columns that are right-aligned.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    flush = set(right)
    form = "  ".join(
        f"{{:{'>' if at in flush else '<'}{width}}}" for at, width in enumerate(widths)
    )
    return [form.format(*row).rstrip() for row in rows]


def span(first: str, last: str) -> str:
    """Return a text for all from the first to the last, such as ``dropout 0.1…0.3``."""
    if first == last:
        return first
    head, _, end = last.rpartition(" ")
    return f"{first}…{end}" if first.startswith(head) else f"{first} … {last}"


def show_bytes(number: int) -> str:
    """Return a number of bytes in the largest unit in which it is at least one."""
    size, unit = float(number), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{number} B" if unit == "B" else f"{size:,.1f} {unit}"


def show_peak(peak: Mapping[str, Any]) -> str:
    """Return the bytes of a peak as text, with the word for a bound before them."""
    return " ".join(filter(None, (peak["bound"], show_bytes(peak["bytes"]))))


def show_count(number: int) -> str:
    """Return a number with thousands separators, or a dash for none."""
    return f"{number:,}" if number else "-"


def show_per_axis(values: Sequence[float]) -> str:
    """Return ``2``, or ``2x1`` where the axes differ."""
    kept = values if len(set(values)) > 1 else values[:1]
    return "x".join(f"{value:g}" for value in kept)


def show_field(field: Mapping[str, Any]) -> str:
    """Return ``3x3``, ``2x2 to 3x3``, ``whole input``, or an upper bound.

    Args:
        field: a receptive field as plain data.
    """
    bound = "" if field["exact"] else "<= "
    if field["whole"]:
        return f"{bound}whole input"
    least, most = show_shape(field["smallest"]), show_shape(field["size"])
    return bound + (most if least == most or bound else f"{least} to {most}")


def show_local(field: Mapping[str, Any]) -> str:
    """Return the same along local paths only, a dash if there are none."""
    if field["local"] is None:
        return "-"
    return show_field(
        {
            "exact": True,
            "whole": False,
            "smallest": field["local_smallest"],
            "size": field["local"],
        }
    )
