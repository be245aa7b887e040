"""Loss and accuracy of runs of `archdsl train`, epoch by epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from . import ChartData, style

# Of each panel: its title, the keys drawn as thin and thick lines, and the scale.
_PANELS: Final = (
    ("loss", "train_loss", "test_loss", 1),
    ("top-1 accuracy, %", "train_top1", "test_top1", 100),
)
# The style of the line from the end of a curve to its name.
_LEADER: Final = {
    **{"arrowstyle": "-", "color": "0.6", "linewidth": 0.5},
    **{"relpos": (0, 0.5), "shrinkA": 1, "shrinkB": 3},
}


def data(run: Path) -> dict[str, Any]:
    """Return the metrics of each epoch of a run.

    Raises:
        SpecError: if the folder holds no metrics that can be read.
        ValueError: if none of its epochs has ended.
    """
    from archdsl.backends.training.folder import read_metrics

    history = read_metrics(run)
    if not history:
        raise ValueError(f"no epoch of the run in {run} has ended")
    return {"epochs": history}


def size(series: Sequence[ChartData]) -> tuple[float, float]:
    """Return a size at which the names of all runs have room beside the curves."""
    return 9.0, max(3.6, 0.9 + 0.17 * len(series))


def draw(figure: Any, series: Sequence[ChartData]) -> None:
    """Draw curves over epochs, with the name of each run where its curve ends."""
    panels = figure.subplots(1, 2)
    for axes, (title, thin, thick, scale) in zip(panels, _PANELS, strict=True):
        for number, one in enumerate(series):
            look = style.line(number, len(one["epochs"]))
            axes.plot(*_curve(one, thick, scale), label=one["name"], **look)
            faint = {**look, "linewidth": 0.6, "marker": "", "alpha": 0.8}
            axes.plot(*_curve(one, thin, scale), **faint)
        axes.set_title(f"{title} on test images; thin: in training")
        axes.set_xlabel("epoch")
        axes.grid(**style.GRID)
        style.whole_ticks(axes.xaxis)
    _name_ends(figure, panels[1], series)


def _curve(
    one: ChartData, key: str, scale: float
) -> tuple[Sequence[float], Sequence[float]]:
    """Return epochs and values, without the epochs that have none."""
    rows = [row for row in one["epochs"] if row[key] is not None]
    return [row["epoch"] for row in rows], [scale * row[key] for row in rows]


def _name_ends(figure: Any, axes: Any, series: Sequence[ChartData]) -> None:
    """Write names to the right of some axes, each with a line from its curve."""
    ends = [(one["epochs"][-1]["epoch"], _last(one)) for one in series]
    figure.draw_without_rendering()
    box = axes.get_window_extent()
    # A line of text and a gap, as a share of the height of the axes.
    step = 1.5 * 7 * figure.dpi / 72 / box.height
    heights = axes.transAxes.inverted().transform(axes.transData.transform(ends))[:, 1]
    for place, height in _spread([float(each) for each in heights], step):
        axes.annotate(
            series[place]["name"],
            ends[place],
            xytext=(1.05, height),
            textcoords="axes fraction",
            va="center",
            fontsize=7,
            annotation_clip=False,
            arrowprops=_LEADER,
        )


def _last(one: Mapping[str, Any]) -> float:
    return 100 * float(one["epochs"][-1]["test_top1"])


def _spread(heights: Sequence[float], step: float) -> Iterator[tuple[int, float]]:
    """Yield indices and heights, changed so that heights differ by at least a step.

    They keep their order, and stay between 0 and 1 if there is room.
    """
    order = sorted(range(len(heights)), key=lambda place: heights[place])
    found: list[float] = []
    for place in order:
        low = found[-1] + step if found else 0.0
        found.append(max(heights[place], low))
    top = 1.0
    for at in range(len(found) - 1, -1, -1):
        found[at] = min(found[at], top)
        top = found[at] - step
    yield from zip(order, found, strict=True)
