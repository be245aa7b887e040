"""Charts of the figures of networks, and of runs, one per file.

A chart is made in two steps. `data` turns an analysis into plain data, without
matplotlib; `draw` draws the data of several networks in one matplotlib figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, cast

from archdsl.files import write

from .file import FORMATS, UnknownFormat, encode_figure, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from archdsl.backends.torch.gradients import Gradients
    from archdsl.passes.analysis import Analysis

__all__ = [
    "CHARTS",
    "FORMATS",
    "RUNS",
    "Plot",
    "PlottedNetwork",
    "UnknownFormat",
    "plot",
    "plot_runs",
]

ChartData = Mapping[str, Any]

CHARTS: Final = (
    "compare",
    "costs",
    "fields",
    "gradients",
    "memory",
    "paths",
    "roofline",
)
# The chart of runs of `archdsl train`, which are folders.
RUNS: Final = "runs"


class PlottedNetwork(NamedTuple):
    """A network to draw.

    Attributes:
        name: the name to show.
        analysis: its figures.
        gradients: the gradient norms of runs in torch, for the chart of gradients.
    """

    name: str
    analysis: Analysis
    gradients: Gradients | None = None


class Chart(Protocol):
    """The interface of a chart's module."""

    def data(self, subject: Any, /) -> dict[str, Any]:
        """Return the data of one `PlottedNetwork`, or of one run, that the chart shows.

        Raises:
            ValueError: if there is nothing to draw; the message says why.
        """

    def size(self, series: Sequence[ChartData], /) -> tuple[float, float]:
        """Return width and height in inches."""

    def draw(self, figure: Any, series: Sequence[ChartData], /) -> None:
        """Draw networks into a matplotlib figure."""


def chart(name: str) -> Chart:
    """Return the chart with a name from `CHARTS`."""
    return cast("Chart", import_module(f"{__name__}.{name}"))


@dataclass(frozen=True)
class Plot:
    """A chart of some networks or runs, which is displayed in notebooks.

    Attributes:
        show: which chart, one of `CHARTS`, or `RUNS`.
        data: the data of the chart, one record per network or run: its `name`, and the
            chart's own keys.
    """

    show: str
    data: tuple[ChartData, ...]

    def figure(self) -> Figure:
        """Return the matplotlib figure.

        Raises:
            MissingExtra: if matplotlib is not installed.
        """
        drawn = chart(self.show)
        with new_figure(drawn.size(self.data)) as figure:
            drawn.draw(figure, self.data)
        return figure

    def encode(self, format: str = "svg") -> bytes:
        """Return the chart in a format of `FORMATS`, the same bytes in every run.

        Raises:
            MissingExtra: if matplotlib is not installed.
            UnknownFormat: if there is no such format.
        """
        if format not in FORMATS:
            raise UnknownFormat(format)
        return encode_figure(self.figure(), format)

    def save(self, path: str | Path, *, format: str | None = None) -> None:
        """Write the chart to a file; its suffix decides the format.

        Raises:
            MissingExtra: if matplotlib is not installed.
            UnknownFormat: if there is no such format.
            OSError: if the file cannot be written.
        """
        suffix = Path(path).suffix.removeprefix(".").lower()
        write(Path(path), self.encode(suffix if format is None else format))

    def as_dict(self) -> dict[str, Any]:
        """Return the data of the chart as plain data."""
        return {"show": self.show, "networks": [dict(one) for one in self.data]}

    def __repr__(self) -> str:
        names = ", ".join(one["name"] for one in self.data)
        return f"<Plot of {self.show}: {names}>"

    def _repr_svg_(self) -> str:
        """Return the chart for a notebook."""
        return self.encode().decode()


def plot(subjects: Sequence[PlottedNetwork], show: str) -> Plot:
    """Return a chart of some networks.

    Args:
        subjects: the networks, at least one.
        show: which chart, one of `CHARTS`.

    Raises:
        ValueError: if there is no such chart, or nothing to draw of a network.
    """
    if show not in CHARTS:
        raise ValueError(f"show must be one of {', '.join(CHARTS)}, not {show}")
    if not subjects:
        raise ValueError("a plot needs a network")
    data = chart(show).data
    return Plot(show, tuple([{"name": one.name, **data(one)} for one in subjects]))


def plot_runs(runs: Mapping[str, Path]) -> Plot:
    """Return a chart of the loss and accuracy of runs over their epochs.

    Args:
        runs: folders that `archdsl train` has written, by the names to show.

    Raises:
        SpecError: if a folder holds no metrics that can be read.
        ValueError: if no epoch of a run has ended.
    """
    data = chart(RUNS).data
    found = [{"name": name, **data(run)} for name, run in runs.items()]
    return Plot(RUNS, tuple(found))
