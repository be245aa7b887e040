"""What every table of a terminal has in common: columns and units."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def align(rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> list[str]:
    """Return rows of cells as lines whose columns stand below each other.

    Args:
        rows: of equally many cells.
        right: the columns whose cells end, rather than begin, at one place.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    flush = set(right)
    form = "  ".join(
        f"{{:{'>' if at in flush else '<'}{width}}}" for at, width in enumerate(widths)
    )
    return [form.format(*row).rstrip() for row in rows]


def show_bytes(number: int) -> str:
    """Return a number of bytes in the largest unit that leaves one or more."""
    size, unit = float(number), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{number} B" if unit == "B" else f"{size:,.1f} {unit}"


def show_count(number: int) -> str:
    """Return a number with its thousands apart, or a dash for none."""
    return f"{number:,}" if number else "-"


def per_axis(values: Sequence[float]) -> str:
    """Return ``2``, or ``2x1`` where the axes differ."""
    kept = values if len(set(values)) > 1 else values[:1]
    return "x".join(f"{value:g}" for value in kept)
