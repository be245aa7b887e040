"""Parameters and multiply-accumulates by the size of the maps."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2, prod
from typing import Any, Final

from archdsl.values import Shape, sizes

from . import ChartData, PlottedNetwork, style

VECTORS: Final = "vectors"
HEADS: Final = "training only"
_PANELS: Final = (
    ("params", "parameters"),
    ("macs", "multiply-accumulates for one sample"),
)


def data(subject: PlottedNetwork) -> dict[str, Any]:
    """Return the parameters and MACs of the layers that output maps of each size.

    A stage consists of the maps that have been halved equally often: `halvings` is log2
    of the input's size divided by the map's, rounded; if the input is a vector, the
    size of the largest map is used. Layers that output vectors form a stage, and so do
    those that only run in training. The MACs of the latter only count in an analysis of
    training.
    """
    analysis = subject.analysis
    runs_heads = analysis.setting.mode == "train"
    areas = [_side(layer.output) for layer in analysis.layers]
    whole = _side(analysis.input) or max(areas)
    stages: dict[str, dict[str, Any]] = {}
    for layer, side in zip(analysis.layers, areas, strict=True):
        halvings = round(log2(whole / side)) if side else None
        name = HEADS if layer.step.training else _name(halvings)
        stage = stages.setdefault(
            name, {"stage": name, "halvings": halvings, "params": 0, "macs": 0}
        )
        stage["params"] += layer.params
        if runs_heads or not layer.step.training:
            stage["macs"] += layer.macs
    return {"stages": [stages[name] for name in sorted(stages, key=_order)]}


def _side(shape: Shape) -> float:
    """Return the square root of a map's area; 0 for a vector."""
    found = sizes(shape)
    return prod(found) ** (1 / len(found)) if found else 0.0


def _name(halvings: int | None) -> str:
    if halvings is None:
        return VECTORS
    return f"1/{2**halvings}" if halvings >= 0 else f"{2**-halvings}/1"


def _order(name: str) -> tuple[int, float]:
    """Return a sort key: large maps first, vectors and heads last."""
    if name in (VECTORS, HEADS):
        return 1, [VECTORS, HEADS].index(name)
    over, _, under = name.partition("/")
    return 0, int(under) / int(over)


def size(series: Sequence[ChartData]) -> tuple[float, float]:
    """Return a size with room for all bars."""
    return 8.5, max(2.2, 1.1 + 0.17 * len(_rows(series)) * (len(series) + 0.6))


def draw(figure: Any, series: Sequence[ChartData]) -> None:
    """Draw a group of bars for each size, with one bar per network."""
    names = _rows(series)
    panels = figure.subplots(1, len(_PANELS), sharey=True)
    for axes, (key, title) in zip(panels, _PANELS, strict=True):
        for number, one in enumerate(series):
            _bars(axes, one, key, names, number, len(series))
        axes.set_title(title)
        style.unit_ticks(axes.xaxis)
        # Room for the figures at the ends of the bars.
        most = max((n[key] for one in series for n in one["stages"]), default=0)
        axes.set_xlim(0, axes.get_xlim()[1] * 1.3 if most else 1)
        axes.grid(axis="x", **style.GRID)
        axes.set_axisbelow(True)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylabel("map size / input size")
    panels[0].invert_yaxis()
    if len(series) == 1:
        figure.suptitle(series[0]["name"], fontsize=10)
    style.legend(figure, panels[0])


def _rows(series: Sequence[ChartData]) -> list[str]:
    """Return the stages of all networks that cost anything, large maps first."""
    found = {
        stage["stage"]
        for one in series
        for stage in one["stages"]
        if stage["params"] or stage["macs"]
    }
    return sorted(found, key=_order)


def _bars(
    axes: Any, one: ChartData, key: str, names: list[str], number: int, networks: int
) -> None:
    width = 0.8 / networks
    stages = {n["stage"]: n[key] for n in one["stages"] if n["stage"] in names}
    total = sum(stages.values())
    places = [names.index(name) - 0.4 + width * (number + 0.5) for name in stages]
    axes.barh(places, stages.values(), width, label=one["name"], **style.bar(number))
    for place, value in zip(places, stages.values(), strict=True):
        axes.annotate(
            f"{style.short_number(value)} ({_share(value, total)})" if value else "0",
            (value, place),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=6.5,
        )


def _share(part: int, whole: int) -> str:
    percent = 100 * part / whole
    return "<1 %" if percent < 0.5 else f"{percent:.0f} %"
