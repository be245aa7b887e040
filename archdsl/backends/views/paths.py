"""The view of the gradient's paths: their number and length at each layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from archdsl.backends.text import show_count

from . import Column, Total, ViewFacts

COLUMNS = (
    Column("paths", moves=True, of_last=True),
    Column("shortest", rank=1, moves=True, of_last=True),
    Column("mean", rank=1, moves=True, of_last=True),
    Column("longest", rank=1, moves=True, of_last=True),
    Column("from heads", rank=2, moves=True, of_last=True),
    Column("shortest", rank=2, moves=True, of_last=True),
)

# Rows and characters of the distribution.
_ROWS: Final = 12
_BAR: Final = 40


def cells(layer: ViewFacts) -> tuple[str, ...]:
    """Return paths from the main loss and their lengths, and those from the others."""
    paths = layer["gradient_paths"]
    if paths is None:
        return ("-",) * len(COLUMNS)
    heads = paths["heads"]
    return (
        *(_number(paths), _length(paths["shortest"])),
        *(_mean(paths["mean"]), _length(paths["longest"])),
        *((_number(heads), _length(heads["shortest"])) if heads else ("-", "-")),
    )


def group(layers: Sequence[ViewFacts]) -> tuple[str, ...]:
    """Return nothing: paths of layers do not add up."""
    return ("",) * len(COLUMNS)


def totals(facts: ViewFacts) -> list[Total]:
    """Return the paths to the input, and after a gap the distribution of lengths."""
    paths = facts["gradient_paths"]
    if paths is None:
        return [("gradient paths", "0", "the main output does not depend on the input")]
    spread = paths["deviation"]
    rows = [
        (
            "gradient paths",
            _number(paths),
            "from the loss of the main output to the input",
        ),
        ("shortest", str(paths["shortest"]), _LENGTH),
        (
            "mean",
            _mean(paths["mean"]),
            f"standard deviation {spread:.3g}" if spread else "",
        ),
        ("longest", str(paths["longest"]), ""),
    ]
    lengths = paths["lengths"]
    if lengths is None or len(lengths) == 1:
        return rows
    return [*rows, ("", "", ""), *_distribution(lengths)]


_LENGTH: Final = "weighted layers along the path, shortcut projections included"


def _number(paths: ViewFacts) -> str:
    """Return how many paths there are, large numbers rounded."""
    count = paths["count"]
    if count is None:
        return "countless"
    if count < 10**12:
        return show_count(count)
    exponent = len(str(count)) - 1
    return f"{count // 10 ** (exponent - 2) / 100:.2f}e{exponent}"


def _length(length: int | None) -> str:
    return "-" if length is None else str(length)


def _mean(mean: float | None) -> str:
    return "-" if mean is None else f"{mean:.1f}"


def _distribution(lengths: Sequence[Sequence[int]]) -> Iterator[Total]:
    """Yield ranges of lengths, with the share of the paths that have them."""
    first, last = lengths[0][0], lengths[-1][0]
    width = -(-(last - first + 1) // _ROWS)
    sums: dict[int, int] = dict.fromkeys(range((last - first) // width + 1), 0)
    for length, number in lengths:
        sums[(length - first) // width] += number
    total, most = sum(sums.values()), max(sums.values())
    yield "length", "share of paths", ""
    for at, number in sums.items():
        low = first + at * width
        high = min(low + width - 1, last)
        name = str(low) if low == high else f"{low} to {high}"
        yield f"  {name}", _share(number, total), "#" * (_BAR * number // most)


def _share(part: int, whole: int) -> str:
    """Return a share in percent, with two digits."""
    return f"{100 * part / whole:.2g} %"
