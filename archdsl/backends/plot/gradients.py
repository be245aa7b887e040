"""Gradient norm of each layer when training starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import ChartData, PlottedNetwork, style


def data(subject: PlottedNetwork) -> dict[str, Any]:
    """Return the norms of the layers in all runs; projections are left out.

    Raises:
        ValueError: if the network was not run, or no layer has a gradient.
    """
    found = subject.gradients
    if found is None:
        raise ValueError(f"{subject.name} has no gradients: it was not run")
    layers = [layer for layer in found.layers if not layer.shortcut]
    if not layers:
        raise ValueError(f"{subject.name} has no weights that its loss depends on")
    return {
        "batch": found.batch,
        "seeds": list(found.seeds),
        "layers": [
            {"name": layer.step.path, "norm": layer.norm, "norms": list(layer.norms)}
            for layer in layers
        ],
    }


def size(series: Sequence[ChartData]) -> tuple[float, float]:
    """Return a fixed size."""
    return 7.0, 4.2


def draw(figure: Any, series: Sequence[ChartData]) -> None:
    """Draw a line for each network, and shade the range of its runs."""
    axes = figure.subplots()
    for number, one in enumerate(series):
        look = style.line(number, len(one["layers"]))
        places = range(1, len(one["layers"]) + 1)
        norms = [layer["norm"] for layer in one["layers"]]
        axes.plot(places, norms, label=one["name"], **look)
        runs = [layer["norms"] for layer in one["layers"]]
        axes.fill_between(
            places,
            [min(norms) for norms in runs],
            [max(norms) for norms in runs],
            color=look["color"],
            alpha=0.15,
            linewidth=0,
        )
    axes.set_yscale("log")
    style.number_ticks(axes.yaxis)
    style.whole_ticks(axes.xaxis)
    axes.set_title(f"{style.title_name(series)}gradient when training starts")
    axes.set_xlabel("convolutions and linear layers, from the input to the output")
    axes.set_ylabel("norm of the gradient of the weights")
    axes.grid(**style.GRID)
    style.legend(figure, axes)
