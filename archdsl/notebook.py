"""Jupyter notebooks: networks as pictures, analyses as tables, the magic `%%arch`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from archdsl.api import analyze, elaborate_module, render
from archdsl.backends.text import show_bytes, show_count, show_field
from archdsl.diagnostics import Diagnostic, SpecError
from archdsl.values import show_shape

if TYPE_CHECKING:
    from archdsl.ir import Network
    from archdsl.passes.analysis import Analysis, LayerFacts

# Longer tables are folded away below the totals.
_OPEN: Final = 30
_HEADER: Final = ("layer", "kind", "output", "params", "MACs", "receptive field")
_NUMBERS: Final = (3, 4)


def svg(network: Network) -> str | None:
    """Return the picture of a network.

    None if no layout engine is installed, or if the network is too large for one.
    """
    from archdsl.backends.diagram import MissingExtra

    with TemporaryDirectory() as folder:
        path = Path(folder, "network.svg")
        try:
            render(network, path)
        except (MissingExtra, SpecError):
            return None
        return path.read_text(encoding="utf-8")


def html(analysis: Analysis) -> str:
    """Return an analysis as a table of totals, and one of the layers.

    Only what makes numbers stand below each other is styled, so that the notebook's own
    light or dark theme holds.
    """
    ports = f"{show_shape(analysis.input)} → {show_shape(analysis.output)}"
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
    peak = show_bytes(memory.training_peak_bytes)
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


# ---- the magic --------------------------------------------------------------------


def load_ipython_extension(shell: Any) -> None:
    """Add `%%arch` to a notebook."""

    def arch(line: str, cell: str) -> Network | None:
        """Load the spec in this cell: `%%arch [NAME]`.

        Each preset of the spec, and each network without one, becomes a variable of
        its name. The one of NAME is shown, else the default one. What is wrong with
        the spec is printed, and then no variable changes.
        """
        try:
            networks, first = networks_of(cell, line.strip())
        except SpecError as error:
            _say(error.diagnostics)
            return None
        shell.push(networks)
        return networks[first]

    shell.register_magic_function(arch, "cell", "arch")


def networks_of(text: str, name: str = "") -> tuple[dict[str, Network], str]:
    """Return the networks of a spec's text by their names, and which one to show.

    Args:
        text: of the spec; it can import the library, but no files.
        name: which one to show; the default one when left out, else the first.

    Raises:
        SpecError: with all that is wrong with the spec, or what it claims.
    """
    from archdsl.cli.variants import variants
    from archdsl.passes.expect import check_expectations
    from archdsl.syntax.loader import load_text

    module = load_text(text, "<cell>")
    names = variants(module)
    if name and name not in names:
        known = ", ".join(names) or "none"
        message = f"the cell has no network `{name}`; it has {known}"
        raise SpecError([Diagnostic("A0601", message)])
    if not names:
        elaborate_module(module)  # which says what is missing
    networks = {each: elaborate_module(module, preset=each) for each in names}
    refuted = [
        diagnostic
        for network in networks.values()
        for diagnostic in check_expectations(network, analyze(network))
    ]
    if refuted:
        raise SpecError(refuted)
    defaults = [each for each in module.presets.values() if each.is_default]
    return networks, name or (defaults[0].name if defaults else names[0])


def _say(diagnostics: list[Diagnostic]) -> None:
    for diagnostic in diagnostics:
        print(f"{diagnostic.render()}\n", file=sys.stderr)
