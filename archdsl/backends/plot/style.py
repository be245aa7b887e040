"""Shared styles: axes, and colours, lines and hatches that differ even in grey."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

# Okabe & Ito 2008, "Color universal design": colour-blind people can tell them apart.
_COLORS: Final = ("#000000", "#D55E00", "#0072B2", "#009E73", "#E69F00", "#56B4E9")
_LINES: Final = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
_HATCHES: Final = ("", "////", "....", "xxxx", "\\\\\\\\", "oo")
_FILLS: Final = ("#4D4D4D", "#F4C7A8", "#FFFFFF", "#9BD3C1", "#F7DFA0", "#C6E3F6")

GRID: Final = {"alpha": 0.25, "linewidth": 0.6}


def color(number: int) -> str:
    """Return the colour of the network with a number."""
    return _COLORS[number % len(_COLORS)]


def line(number: int, points: int = 1) -> dict[str, Any]:
    """Return the style of the line of the network with a number.

    Colours, lines and markers repeat after 6, 5 and 7, so 6 * 5 * 7 = 210 networks
    differ.

    Args:
        number: the number of the network.
        points: number of points on the line; about a dozen get a marker.
    """
    return {
        "markevery": max(1, points // 12),
        "color": color(number),
        "linestyle": _LINES[number % len(_LINES)],
        "marker": marker(number),
        "markersize": 3.5,
        "linewidth": 1.4,
    }


def marker(number: int) -> str:
    """Return the marker of the network with a number."""
    return _MARKERS[number % len(_MARKERS)]


def bar(number: int) -> dict[str, Any]:
    """Return the style of the bars of the network with a number."""
    return {
        "facecolor": _FILLS[number % len(_FILLS)],
        "hatch": _HATCHES[number % len(_HATCHES)],
        "edgecolor": "black",
        "linewidth": 0.6,
    }


def legend(figure: Any, axes: Any) -> None:
    """Put the legend of some axes below the figure, where it covers nothing."""
    handles, names = axes.get_legend_handles_labels()
    if len(names) > 1:
        widest = max(len(name) for name in names)
        columns = max(1, min(len(names), 100 // (widest + 8)))
        figure.legend(
            handles,
            names,
            loc="outside lower center",
            ncols=columns,
            frameon=False,
            handlelength=3.2,
        )


def title_name(series: Sequence[Any]) -> str:
    """Return a title's prefix, which names the network if there is only one."""
    return f"{series[0]['name']}: " if len(series) == 1 else ""


def unit_ticks(axis: Any, unit: str = "") -> None:
    """Label an axis with the prefixes k, M and G, and a unit if given."""
    from matplotlib.ticker import EngFormatter

    axis.set_major_formatter(EngFormatter(unit=unit, sep="" if not unit else " "))
    if axis.get_scale() == "log":
        _few_decades(axis)


def whole_ticks(axis: Any) -> None:
    """Put the ticks of an axis at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True))


def number_ticks(axis: Any) -> None:
    """Label an axis with plain numbers, such as 0.1, 1, 10."""
    axis.set_major_formatter("{x:,g}")
    if axis.get_scale() == "log":
        _few_decades(axis)


def _few_decades(axis: Any) -> None:
    """Leave out the minor ticks; label 2 and 5 if an axis has few decades."""
    from math import log10

    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    few = log10(high / low) < 3.5
    axis.set_major_locator(LogLocator(10, (1, 2, 5) if few else (1,)))
    axis.set_minor_formatter(NullFormatter())


def short_number(number: float) -> str:
    """Return a number with three digits: ``102.8M``, ``41.0k``, ``512``."""
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g}{unit}"
    return f"{number:.3g}"
