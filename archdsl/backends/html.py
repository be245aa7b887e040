"""The tables of an analysis as HTML, for notebooks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Final

from archdsl.values import show_shape

from .text import show_count, show_field, show_peak

if TYPE_CHECKING:
    from archdsl.passes.analysis import Analysis, LayerFacts, Terminal

# Longer tables are folded away below the totals.
_OPEN: Final = 30
_HEADER: Final = ("layer", "kind", "output", "params", "MACs", "receptive field")
_NUMBERS: Final = (3, 4)


def html(analysis: Analysis) -> str:
    """Return an analysis as a table of totals, and one of the layers.

    The only styling aligns numbers, so that the notebook's light or dark theme applies.
    """
    ports = f"{_ports(analysis.inputs)} → {_ports(analysis.outputs)}"
    layers = _table([_HEADER, *map(_row, analysis.layers)], _NUMBERS)
    few = len(analysis.layers) <= _OPEN
    return "\n".join(
        [
            f"<div><strong>{escape(analysis.name)}</strong>: {ports}",
            _table(list(_totals(analysis)), (1,), head=False),
            f"<details{' open' if few else ''}>",
            f"<summary>{len(analysis.layers):,} layers</summary>",
            layers,
            "</details></div>",
        ]
    )


def _ports(ports: Sequence[Terminal]) -> str:
    return ", ".join(
        (f"{escape(port.name)} " if len(ports) > 1 else "")
        + show_shape(port.shape)
        + (" (training only)" if port.training else "")
        for port in ports
    )


def _totals(analysis: Analysis) -> Iterator[tuple[str, ...]]:
    heads = analysis.auxiliary.params
    note = f"{heads:,} of them for training only" if heads else ""
    yield "params", f"{analysis.params:,}", note
    yield "MACs", f"{analysis.macs:,}", "for one sample, without biases"
    yield "depth", f"{analysis.depth}", "convolutions and linear layers"
    field = analysis.receptive_field
    if field is not None:
        yield "receptive field", show_field(field.as_dict()), "of the last map's units"
    memory = analysis.memory
    setting = f"batch {memory.batch}, {memory.dtype}, {memory.optimizer}"
    peak = show_peak(memory.training_peak.as_dict(memory.batch))
    yield "memory", peak, f"peak of a training step, {setting}"


def _row(layer: LayerFacts) -> tuple[str, ...]:
    field = layer.receptive_field
    return (
        layer.name,
        layer.step.op.label(),
        show_shape(layer.output),
        show_count(layer.params),
        show_count(layer.macs),
        "-" if field is None else show_field(field.as_dict()),
    )


def _table(
    rows: list[tuple[str, ...]], numbers: tuple[int, ...], *, head: bool = True
) -> str:
    lines = ["<table>"]
    for at, row in enumerate(rows):
        tag = "th" if head and not at else "td"
        cells = [
            f'<{tag} style="text-align: {"right" if n in numbers else "left"}">'
            f"{escape(cell)}</{tag}>"
            for n, cell in enumerate(row)
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return "\n".join([*lines, "</table>"])
