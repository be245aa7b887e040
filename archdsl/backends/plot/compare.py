"""Parameters against multiply-accumulates, with the name of each network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import ChartData, PlottedNetwork, labels, style


def data(subject: PlottedNetwork) -> dict[str, Any]:
    """Return the parameters and MACs, and the network that presets belong to."""
    analysis = subject.analysis
    return {
        "family": analysis.network.root.word,
        "params": analysis.params,
        "macs": analysis.macs,
    }


def size(series: Sequence[ChartData]) -> tuple[float, float]:
    """Return more room for many names."""
    return (7.5, 5.0) if len(series) <= 25 else (11.0, 8.0)


def draw(figure: Any, series: Sequence[ChartData]) -> None:
    """Draw a point for each network, and lines through those of one family."""
    axes = figure.subplots()
    families: dict[str, list[tuple[int, int]]] = {}
    for one in series:
        point = one["macs"], one["params"]
        families.setdefault(one["family"], []).append(point)
    for number, (family, points) in enumerate(families.items()):
        axes.plot(
            *zip(*sorted(points), strict=True),
            color=style.color(number),
            linestyle=":",
            linewidth=0.8,
            marker=style.marker(number),
            markersize=5,
            label=family,
            clip_on=False,
        )
    points = [(one["macs"], one["params"]) for one in series]
    if all(min(point) > 0 for point in points):
        axes.set_xscale("log")
        axes.set_yscale("log")
    axes.set_title("parameters against multiply-accumulates")
    axes.margins(0.12)
    if axes.get_xscale() == "linear":
        # If a network has no parameters or no MACs, the axis is linear and begins at 0.
        axes.set_xlim(0, 1.12 * max(1, *(macs for macs, _ in points)))
        axes.set_ylim(0, 1.12 * max(1, *(params for _, params in points)))
    for axis, what in ((axes.xaxis, _MACS), (axes.yaxis, "parameters")):
        style.unit_ticks(axis)
        axis.set_label_text(what)
    axes.grid(**style.GRID)
    curves = [sorted(members) for members in families.values()]
    labels.place_names(axes, points, [one["name"] for one in series], curves)


_MACS = "multiply-accumulates for one sample"
