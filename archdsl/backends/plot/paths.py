"""Lengths of the gradient's paths from the loss to the input."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from . import ChartData, PlottedNetwork, style


def data(subject: PlottedNetwork) -> dict[str, Any]:
    """Return how many paths have each length.

    Raises:
        ValueError: if there is no path, or if there are too many to count.
    """
    paths = subject.analysis.paths
    if paths.input is None:
        raise ValueError(f"the output of {subject.name} does not depend on its input")
    if paths.lengths is None:
        raise ValueError(f"{subject.name} has too many paths to count their lengths")
    return {
        "count": paths.input.number,
        "mean": paths.input.mean,
        "lengths": [list(pair) for pair in paths.lengths],
    }


def size(series: Sequence[ChartData]) -> tuple[float, float]:
    """Return a size with a panel for each network."""
    return 7.0, 1.0 + 1.5 * len(series)


def draw(figure: Any, series: Sequence[ChartData]) -> None:
    """Draw a panel for each network: the share of its paths by their length."""
    panels = figure.subplots(len(series), 1, sharex=True, squeeze=False)[:, 0]
    for number, (axes, one) in enumerate(zip(panels, series, strict=True)):
        lengths = [length for length, _ in one["lengths"]]
        # Counts may be too large for a float; their shares are not.
        shares = [100 * n / one["count"] for _, n in one["lengths"]]
        gap = min((b - a for a, b in pairwise(lengths)), default=1)
        axes.bar(lengths, shares, 0.8 * gap, **style.bar(number))
        axes.set_title(f"{one['name']}: {_count(one['count'])}, {_mean(one)}")
        axes.set_ylim(0, max(shares) * 1.1)
        axes.yaxis.set_major_formatter("{x:g} %")
        axes.grid(axis="y", **style.GRID)
        axes.set_axisbelow(True)
    style.whole_ticks(panels[-1].xaxis)
    panels[-1].set_xlim(0, max(panels[-1].get_xlim()[1], 1.5))
    panels[-1].set_xlabel("convolutions and linear layers on the path of the gradient")
    figure.supylabel("share of the paths", fontsize=9)


def _count(number: int) -> str:
    if number == 1:
        return "1 path"
    if number < 10**12:
        return f"{number:,} paths"
    exponent = len(str(number)) - 1
    return f"{number // 10 ** (exponent - 2) / 100:.2f}e{exponent} paths"


def _mean(one: ChartData) -> str:
    if len(one["lengths"]) == 1:
        return f"of length {one['lengths'][0][0]}"
    shortest, longest = one["lengths"][0][0], one["lengths"][-1][0]
    return f"{shortest} to {longest} long, {one['mean']:.1f} on average"
