"""Memory in use over the course of a training step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from archdsl.backends.text import show_bytes

from . import ChartData, PlottedNetwork, style

# The width of the optimiser's step, if the forward and backward passes are 1 wide.
_STEP: Final = 0.12


def data(subject: PlottedNetwork) -> dict[str, Any]:
    """Return the bytes in use as each layer runs forward and backward."""
    memory = subject.analysis.memory
    return {
        "batch": memory.batch,
        "dtype": memory.dtype,
        "optimizer": memory.optimizer,
        "recompute": memory.recompute,
        "param_bytes": memory.param_bytes,
        "buffer_bytes": memory.buffer_bytes,
        "optimizer_bytes": memory.optimizer_bytes,
        "timeline": [moment._asdict() for moment in memory.timeline],
    }


def size(series: Sequence[ChartData]) -> tuple[float, float]:
    """Return a fixed size."""
    return 7.0, 4.2


def draw(figure: Any, series: Sequence[ChartData]) -> None:
    """Draw a line for each network, and mark its peak."""
    axes = figure.subplots()
    unit, word = _unit(max(n["bytes"] for one in series for n in one["timeline"]))
    for number, one in enumerate(series):
        places = moment_positions(one["timeline"])
        heights = [moment["bytes"] / unit for moment in one["timeline"]]
        look = {**style.line(number), "marker": None, "markevery": None}
        peak = max(one["timeline"], key=lambda moment: moment["bytes"])
        label = f"{one['name']}: {show_bytes(peak['bytes'])} at most"
        axes.plot(places, heights, label=label, **look)
        at = one["timeline"].index(peak)
        axes.plot(
            places[at],
            heights[at],
            marker=style.marker(number),
            color=look["color"],
            markersize=7,
        )
    if len(series) == 1:
        _single(axes, series[0], unit)
    for border in (1.0, 2.0):
        axes.axvline(border, color="0.5", linewidth=0.8)
    axes.set_xticks([0.5, 1.5, 2 + _STEP / 2], ["forward", "backward", "step"])
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(0, 2 + _STEP)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.08)
    axes.set_ylabel(f"in use, {word}")
    axes.set_title(_title(series))
    axes.grid(axis="y", **style.GRID)
    style.legend(figure, axes)


def moment_positions(timeline: Sequence[ChartData]) -> list[float]:
    """Return the x position of each moment: forward 0 to 1, backward 1 to 2."""
    forward = sum(moment["phase"] == "forward" for moment in timeline)
    backward = len(timeline) - forward - 1
    found = [(n + 0.5) / forward for n in range(forward)]
    found += [1 + (n + 0.5) / backward for n in range(backward)]
    return [*found, 2 + _STEP / 2]


def _single(axes: Any, one: ChartData, unit: int) -> None:
    """Shade the memory that one network uses all the time, and label its peak."""
    low = 0.0
    for number, (key, what) in enumerate(
        (("param_bytes", "parameters, buffers"), ("optimizer_bytes", "optimizer"))
    ):
        more = one[key] + (0 if number else one["buffer_bytes"])
        if more:
            axes.fill_between(
                (0, 2 + _STEP),
                low,
                low + more / unit,
                label=f"{what}: {show_bytes(more)}",
                alpha=0.6,
                **style.bar(number + 1),
            )
        low += more / unit
    peak = max(one["timeline"], key=lambda moment: moment["bytes"])
    place = moment_positions(one["timeline"])[one["timeline"].index(peak)]
    where = peak["layer"] or "the optimiser's step"
    axes.annotate(
        where,
        (place, peak["bytes"] / unit),
        xytext=(0, 6),
        textcoords="offset points",
        ha="center" if 0.3 < place < 1.7 else "left" if place < 1 else "right",
        fontsize=7,
    )


def _unit(largest: int) -> tuple[int, str]:
    for power, word in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if largest >= 1 << power:
            return 1 << power, word
    return 1, "bytes"


def _title(series: Sequence[ChartData]) -> str:
    first = series[0]
    setting = f"batch {first['batch']}, {first['dtype']}, {first['optimizer']}"
    return f"{style.title_name(series)}memory of a training step, {setting}"
