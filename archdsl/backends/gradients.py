"""A report of gradient norms for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import TYPE_CHECKING, Final

from .text import align

if TYPE_CHECKING:
    from .torch.gradients import Gradients

_HEADER: Final = ("layer", "kind", "gradient", "weights", "ratio", "of the last")


def gradient_report(name: str, found: Gradients) -> str:
    """Return a table of the layers' gradients, and how they grow on their way back.

    Args:
        name: name of the network.
        found: the result of its runs; the table has the medians.
    """
    lines = align([_HEADER, *_rows(found)], right=(2, 3, 4, 5))
    return "\n".join([f"{name}: gradients", "", *lines, "", *_totals(found)]) + "\n"


def _rows(found: Gradients) -> Iterator[tuple[str, ...]]:
    convs = found.convs
    last = convs[-1].norm if convs else 0.0
    for layer in found.layers:
        norm, weights = layer.norm, layer.weight_norm
        yield (
            layer.step.path,
            layer.step.op.label(),
            figure(norm),
            figure(weights),
            figure(norm / weights) if weights else "-",
            figure(norm / last) if last else "-",
        )


def _totals(found: Gradients) -> list[str]:
    rows = [
        ("gradient", "norm of the gradient of the weights when training starts"),
        ("ratio", "gradient over weights"),
        ("of the last", "gradient over that of the last convolution"),
        ("loss", "cross entropy of the main output, random inputs and labels,"),
        ("", f"batch {found.batch}, training mode, float64"),
    ]
    runs = len(found.seeds)
    if runs > 1:
        seeds = ", ".join(map(str, found.seeds))
        rows.append(("runs", f"{runs}, of the seeds {seeds}; medians"))
    growth = sorted(found.growth)
    if growth:
        middle, ends = median(growth), f"{figure(growth[0])} to {figure(growth[-1])}"
        spread = f", {ends} in these runs" if runs > 1 else ""
        rows.append(("first conv", f"{figure(middle)} times the last one's{spread}"))
    return align(rows)


def figure(number: float) -> str:
    """Return a number with three digits: ``1,230``, ``12.3``, ``0.0123`` or
    ``1.2e-07``.

    Further digits differ between processors.
    """
    if number and not 1e-4 <= abs(number) < 1e7:
        return f"{number:.2e}"
    return f"{float(f'{number:.3g}'):,g}"
