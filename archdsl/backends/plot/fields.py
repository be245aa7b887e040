"""Receptive field over depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from archdsl.passes.depth import depths
from archdsl.values import sizes

from . import ChartData, PlottedNetwork, style

# For more pixels than this, the axis is logarithmic.
_LINEAR: Final = 64


def data(subject: PlottedNetwork) -> dict[str, Any]:
    """Return the fields of the maps of each depth.

    The depth of a map is the number of convolutions and linear layers on the longest
    path to it. `size` is the largest field at a depth; `least` is that of the narrowest
    single path to this depth or a larger one. Both are in pixels, along the axis where
    they are larger. Paths through global pooling, as in squeeze and excitation, are
    left out.

    Raises:
        ValueError: if the first input has no receptive fields, or there is no
            convolution to count the depth by.
    """
    analysis = subject.analysis
    known = depths(analysis.graph)
    found: dict[int, tuple[int, int]] = {0: (1, 1)}
    seen = False
    for layer in analysis.layers:
        field = layer.receptive_field
        if field is None or layer.step.training or not sizes(layer.output):
            continue
        local = field.local
        if local is None:
            continue
        seen = True
        depth = known[layer.step.output]
        most, least = max(local), max(field.minimum)
        if depth in found and depth:
            most, least = max(most, found[depth][0]), min(least, found[depth][1])
        found[depth] = most, least
    if len(found) == 1:
        what = "receptive fields" if not seen else "convolutions that make maps"
        raise ValueError(f"{subject.name} has no {what} of its first input")
    fields, narrowest = [], max(most for most, _ in found.values())
    for depth, (most, least) in sorted(found.items(), reverse=True):
        narrowest = min(narrowest, least)
        fields.append({"depth": depth, "size": most, "least": narrowest})
    return {"input": max(sizes(analysis.input)), "fields": fields[::-1]}


def size(series: Sequence[ChartData]) -> tuple[float, float]:
    """Return a fixed size."""
    return 7.0, 4.2


def draw(figure: Any, series: Sequence[ChartData]) -> None:
    """Draw a line for each network, and the size of the input."""
    axes = figure.subplots()
    largest = 0
    for number, one in enumerate(series):
        depth = [point["depth"] for point in one["fields"]]
        most = [point["size"] for point in one["fields"]]
        least = [point["least"] for point in one["fields"]]
        largest = max(largest, *most)
        look = style.line(number, len(depth))
        axes.plot(depth, most, label=one["name"], **look)
        if len(series) <= 2 and least != most:
            axes.fill_between(
                depth, least, most, color=look["color"], alpha=0.12, linewidth=0
            )
            axes.plot(
                depth,
                least,
                color=look["color"],
                linewidth=0.7,
                linestyle=look["linestyle"],
                label=f"{one['name']}, narrowest path",
            )
    for pixels in sorted({one["input"] for one in series}):
        if pixels <= 2 * largest:
            axes.axhline(pixels, color="0.5", linewidth=0.8, linestyle=(0, (1, 3)))
            axes.annotate(
                f"input: {pixels}",
                (0.995, pixels),
                xycoords=("axes fraction", "data"),
                xytext=(0, 2),
                textcoords="offset points",
                ha="right",
                fontsize=7,
            )
    if largest > _LINEAR:
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter("{x:g}")
    else:
        style.whole_ticks(axes.yaxis)
    style.whole_ticks(axes.xaxis)
    axes.set_title(f"{style.title_name(series)}receptive field")
    axes.set_xlabel("depth: convolutions and linear layers on the longest path")
    axes.set_ylabel("pixels along one axis")
    axes.grid(**style.GRID)
    style.legend(figure, axes)
