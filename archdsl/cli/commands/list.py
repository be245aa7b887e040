"""`archdsl list`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import click

from archdsl.cli.options import json_option, width_option
from archdsl.cli.terminal import Progress, fit_width, print_json

if TYPE_CHECKING:
    from archdsl.backends.fit import FittedTable
    from archdsl.passes.devices import Device


# The width of notes, at most.
_NOTE = 78


class ListedNetwork(NamedTuple):
    """One shipped network."""

    spec: str
    name: str
    default: bool
    input: tuple[int, ...]
    params: int
    depth: int
    macs: int


@click.command()
@click.option(
    "--devices",
    "wants_devices",
    is_flag=True,
    help="List the devices for `archdsl analyze --device` instead.",
)
@width_option
@json_option
def command(wants_devices: bool, width: int | None, as_json: bool) -> int:
    """List the shipped networks and their presets.

    \b
    Examples:
      archdsl list
      archdsl list --devices
      archdsl list --json
    """
    room = fit_width(width, sys.stdout)
    if wants_devices:
        return _list_devices(as_json, room)
    entries = _entries()
    if as_json:
        print_json({"networks": [_as_dict(entry) for entry in entries]})
    else:
        sys.stdout.write(_table(entries, room))
    return 0


def _entries() -> list[ListedNetwork]:
    from archdsl.resources import shipped_specs

    specs = shipped_specs()
    entries: list[ListedNetwork] = []
    with Progress(len(specs)) as progress:
        for spec in specs:
            progress.step(spec)
            entries += _of_spec(spec)
    return entries


def _of_spec(spec: str) -> Iterator[ListedNetwork]:
    from archdsl.api import elaborate_module, open_spec
    from archdsl.passes.analysis import analyze
    from archdsl.variants import variants

    module, _ = open_spec(spec)
    defaults = {p.name for p in module.file.presets() if p.is_default}
    names = variants(module)
    for name in names:
        network = elaborate_module(module, preset=name, symbolic=False)
        facts = analyze(network)
        yield ListedNetwork(
            spec,
            name,
            name in defaults or len(names) == 1,
            facts.input,
            facts.params,
            facts.depth,
            facts.macs,
        )


def _as_dict(entry: ListedNetwork) -> dict[str, object]:
    return {**entry._asdict(), "input": list(entry.input)}


def _table(entries: list[ListedNetwork], room: int | None) -> str:
    note = (
        "params: trainable or not, auxiliary heads included; depth: conv and linear "
        "layers on the longest path; MACs: multiply-accumulates for one sample."
    )
    titles = ("spec", "preset", "", "input", "params", "depth", "MACs")
    sheet = _sheet(titles, _rows(entries, "default"), range(4, 7))
    if room is not None and sheet.width > room:
        sheet = _sheet(titles, _rows(entries, "*"), range(4, 7))
        note = f"*: the default preset, which the name of the spec refers to; {note}"
    return _fitted(sheet, note, room)


def _rows(entries: list[ListedNetwork], mark: str) -> Iterator[tuple[str, ...]]:
    from archdsl.values import show_shape

    previous = ""
    for entry in entries:
        yield (
            entry.spec if entry.spec != previous else "",
            entry.name,
            mark if entry.default else "",
            show_shape(entry.input),
            f"{entry.params:,}",
            str(entry.depth),
            f"{entry.macs:,}",
        )
        previous = entry.spec


def _sheet(
    titles: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int]
) -> FittedTable:
    """Return a table, some of whose columns are right-aligned."""
    from archdsl.backends.fit import FittedColumn, FittedTable

    flush, columns = set(right), zip(*rows, strict=True)
    pairs = enumerate(zip(titles, columns, strict=True))
    return FittedTable(
        [FittedColumn(name, [*cells], right=at in flush) for at, (name, cells) in pairs]
    )


def _fitted(sheet: FittedTable, note: str, room: int | None) -> str:
    """Fit a table into a number of columns, with a note below."""
    from textwrap import wrap

    from archdsl.backends.fit import note as done

    if room is not None:
        sheet.fit(room)
    notes = wrap(note, min(room or _NOTE, _NOTE))
    if room is not None and (said := done([sheet], room)):
        notes += wrap(said, room)
    return "\n".join([*sheet.lines(lambda *_: ""), "", *notes]) + "\n"


# ---- devices ------------------------------------------------------------------------


def _list_devices(as_json: bool, room: int | None) -> int:
    from archdsl.passes.devices import devices

    known = devices()
    if as_json:
        print_json({"devices": [device.as_dict() for device in known.values()]})
    else:
        sys.stdout.write(_device_table(list(known.values()), room))
    return 0


def _device_table(known: list[Device], room: int | None) -> str:
    from archdsl.passes.devices import FORMATS

    rows = []
    for device in known:
        size = device.memory_bytes
        rows.append(
            (
                device.name,
                *(_tera(device.matrix.get(name)) for name in FORMATS),
                _tera(device.vector["float32"]),
                f"{device.bandwidth / 1e9:,.5g}",
                "-" if size is None else f"{size / 1e9:g}",
                device.title,
            )
        )
    titles = ("name", *FORMATS, "vector", "GB/s", "GB", "device")
    note = (
        "float64 to float16: 10^12 operations a second of matrix products, without "
        "sparsity; vector: of all others, in float32; GB/s and GB: of the memory. As "
        "the vendors publish them; `--json` has the sources."
    )
    return _fitted(_sheet(titles, rows, range(1, 9)), note, room)


def _tera(rate: float | None) -> str:
    return "-" if rate is None else f"{rate / 1e12:g}"
