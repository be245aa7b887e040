"""The roofline of a device, and whether compute or memory bounds each layer.

Source: Williams, Waterman & Patterson 2009, "Roofline: an insightful visual performance
model for multicore architectures".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from . import ChartData, PlottedNetwork, labels, style

# The number of points that get names.
_NAMED: Final = 6
_MARKERS: Final = {"conv": "o", "linear": "s"}


def data(subject: PlottedNetwork) -> dict[str, Any]:
    """Return the layers that run, with operations per byte and per second.

    Raises:
        ValueError: if the analysis has no device.
    """
    analysis = subject.analysis
    time = analysis.time
    if time is None:
        raise ValueError("a roofline needs a device")
    device = time.device
    layers = []
    for layer in analysis.layers:
        own = layer.time
        if own is None or not own.seconds or not layer.work.batch_flops:
            continue
        layers.append(
            {
                "name": layer.name,
                "kind": layer.kind,
                "intensity": layer.work.intensity,
                "flops_per_second": layer.work.batch_flops / own.seconds,
                "seconds": own.seconds,
                "bound": own.bound,
            }
        )
    return {
        "device": device.name,
        "title": device.title,
        "batch": time.batch,
        "dtype": time.dtype,
        "tf32": time.tf32,
        "bandwidth": device.bandwidth,
        "matrix_rate": device.matrix_rate(time.dtype, tf32=time.tf32),
        "vector_rate": device.vector_rate(time.dtype),
        "seconds": time.seconds,
        "layers": layers,
    }


def size(series: Sequence[ChartData]) -> tuple[float, float]:
    """Return a size with a panel for each network."""
    return 7.5, 4.6 * len(series)


def draw(figure: Any, series: Sequence[ChartData]) -> None:
    """Draw a panel for each network: the roof, and a point for each layer."""
    panels = figure.subplots(len(series), 1, squeeze=False)[:, 0]
    for axes, one in zip(panels, series, strict=True):
        _panel(axes, one)
    style.legend(figure, panels[0])
    for axes, one in zip(panels, series, strict=True):
        points = _points(one["layers"])
        slowest = sorted(points, key=lambda at: -_seconds(points[at]))[:_NAMED]
        names = [_name(points[at], one["seconds"]) for at in slowest]
        labels.place_names(axes, slowest, names, _roofs(axes, one), list(points))


def _panel(axes: Any, one: ChartData) -> None:
    kinds: dict[str, list[ChartData]] = {"conv": [], "linear": [], "other layers": []}
    for layer in one["layers"]:
        word = layer["kind"]
        kinds[word if word in kinds else "other layers"].append(layer)
    for number, (kind, layers) in enumerate(kinds.items()):
        if layers:
            axes.scatter(
                [layer["intensity"] for layer in layers],
                [layer["flops_per_second"] for layer in layers],
                # The area of a point is its share of the time.
                [8 + 200 * layer["seconds"] / one["seconds"] for layer in layers],
                marker=_MARKERS.get(kind, "^"),
                facecolor=("none", "0.6", "none")[number],
                edgecolor=style.color(number),
                label=kind,
            )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.margins(0.15)
    _roof(axes, one)
    style.unit_ticks(axes.yaxis, "FLOP/s")
    style.number_ticks(axes.xaxis)
    axes.set_xlabel("operations per byte moved")
    axes.set_ylabel("operations per second, at most")
    tf32 = ", TF32" if one["tf32"] else ""
    axes.set_title(
        f"{one['name']} on {one['title']}, batch {one['batch']}, {one['dtype']}{tf32}"
    )
    axes.grid(**style.GRID)


def _roof(axes: Any, one: ChartData) -> None:
    """Draw the bounds that no layer can exceed; the axes' limits do not change."""
    for what, dashes, corners in zip(
        ("matrix products", "other operations"),
        ("-", "--"),
        _roofs(axes, one),
        strict=True,
    ):
        axes.plot(
            *zip(*corners, strict=True),
            color="0.3",
            linewidth=1.0,
            linestyle=dashes,
            label=f"roof of {what}",
            zorder=1,
            scalex=False,
        )


def _roofs(axes: Any, one: ChartData) -> list[list[tuple[float, float]]]:
    """Return the corners of both roofs, from the left edge of the axes to the right."""
    low, high = axes.get_xlim()
    found = []
    for rate in (one["matrix_rate"], one["vector_rate"]):
        xs = sorted({low, min(max(rate / one["bandwidth"], low), high), high})
        found.append([(x, min(rate, x * one["bandwidth"])) for x in xs])
    return found


def _points(layers: Sequence[ChartData]) -> dict[tuple[float, float], list[ChartData]]:
    """Return the layers by their points; those at the same place share one."""
    found: dict[str, list[ChartData]] = {}
    for layer in layers:
        near = f"{layer['intensity']:.1e} {layer['flops_per_second']:.1e}"
        found.setdefault(near, []).append(layer)
    return {
        (some[0]["intensity"], some[0]["flops_per_second"]): some
        for some in found.values()
    }


def _seconds(layers: Sequence[ChartData]) -> float:
    return float(sum([layer["seconds"] for layer in layers]))


def _name(layers: Sequence[ChartData], whole: float) -> str:
    more = f" and {len(layers) - 1} like it" if len(layers) > 1 else ""
    share = 100 * _seconds(layers) / whole
    return f"{layers[0]['name']}{more}: {share:.1f} % of the time"
