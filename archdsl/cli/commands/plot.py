"""`archdsl plot`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from archdsl.backends.plot import (
    CHARTS,
    FORMATS,
    RUNS,
    PlottedNetwork,
    UnknownFormat,
    plot,
    plot_runs,
)
from archdsl.cli import completion, status
from archdsl.cli.files import write_bytes
from archdsl.cli.gradients import measure_gradients, runs_option
from archdsl.cli.options import (
    OUTPUT_FILE,
    SpecCommand,
    device_options,
    find_device,
    json_option,
    load_networks,
    network_options,
    run_options,
)
from archdsl.cli.terminal import fail, print_json, say

if TYPE_CHECKING:
    from archdsl.backends.plot import Plot
    from archdsl.ir import Network

_OF_NETWORKS: Final = (
    *("params", "input_shape", "batch", "dtype", "optimizer", "recompute"),
    *("device_name", "devices_file", "runs"),
)


@click.command(cls=SpecCommand)
@click.argument(
    "specs",
    nargs=-1,
    required=True,
    metavar="SPEC...|RUN...",
    shell_complete=completion.specs,
)
@click.option(
    "--show",
    type=click.Choice([*CHARTS, RUNS]),
    help="Which chart.  [default: costs of one SPEC, compare of several, runs of "
    "folders]",
)
@click.option(
    "-o",
    "--output",
    type=OUTPUT_FILE,
    metavar="FILE",
    help="Write the chart there, as .svg, .png or .pdf. Without it, svg is printed.",
)
@click.option(
    "--format",
    "format_",
    metavar="FORMAT",
    help="svg, png or pdf. Without it, the suffix of FILE decides.",
)
@network_options
@run_options
@click.option(
    "--recompute",
    is_flag=True,
    help="For memory: recompute each block in the backward pass.",
)
@device_options("For roofline: the device; see `archdsl list --devices`.")
@runs_option
@json_option
def command(
    specs: tuple[str, ...],
    show: str | None,
    output: Path | None,
    format_: str | None,
    params: dict[str, object],
    input_shape: tuple[int, ...] | None,
    batch: int,
    dtype: str,
    optimizer: str,
    recompute: bool,
    device_name: str | None,
    devices_file: str | None,
    runs: int,
    as_json: bool,
) -> int:
    """Draw charts of the figures of networks, or of runs.

    \b
      compare    parameters against multiply-accumulates, with names
      costs      parameters and multiply-accumulates by the size of the maps
      fields     receptive field over depth
      gradients  gradient norm of each layer when training starts; needs torch
      memory     memory in use over the course of a training step
      paths      lengths of the gradient paths
      roofline   whether compute or memory bounds each layer on a --device
      runs       loss and accuracy over epochs, of folders of `archdsl train`

    Charts need matplotlib (`pip install archdsl[plot]`); printing their data with
    --json does not. Charts are readable in grey, and identical in every run.

    \b
    Examples:
      archdsl plot alexnet vgg16 googlenet resnet50 densenet121 -o compare.svg
      archdsl plot alexnet vgg16 --show costs -o costs.pdf
      archdsl plot plain56 residual56 --show paths -o paths.png
      archdsl plot plain56 residual56 --show gradients --runs 5 -o gradients.svg
      archdsl plot resnet50 --show memory --batch 32 --optimizer adam -o memory.svg
      archdsl plot resnet50 --show roofline --device a100-sxm-40gb -o roofline.svg
      archdsl plot runs/* -o curves.svg
    """
    folders = _folders(specs)
    default = "costs" if len(specs) == 1 else "compare"
    kind = show or (RUNS if folders else default)
    format = _format(output, format_)
    printed = output is None or str(output) == "-"
    if as_json and printed and format_ is not None:
        raise click.UsageError("--json prints the data of the chart: use -o FILE, too")
    if format != "svg" and printed and sys.stdout.isatty():
        raise click.UsageError(f"{format} is not for a terminal: use -o FILE")
    device = find_device(device_name, devices_file, dtype)
    if (kind == "roofline") is not (device is not None):
        raise click.UsageError(
            "--show roofline needs a --device; other charts take none"
        )
    if runs > 1 and kind != "gradients":
        raise click.UsageError("--runs needs --show gradients")
    if (kind == RUNS) is not bool(folders):
        raise click.UsageError(
            f"--show {RUNS} draws folders of `archdsl train`; other charts draw "
            "networks"
        )
    subjects = []
    if not folders:
        networks, errors = load_networks(specs, params, input_shape)
        if errors:
            return fail(errors, as_json=as_json)
        subjects = _subjects(
            specs,
            networks,
            runs if kind == "gradients" else 0,
            batch=batch,
            dtype=dtype,
            optimizer=optimizer,
            recompute=recompute,
            device=device,
        )
    try:
        found = plot_runs(folders) if folders else plot(subjects, kind)
        if not (as_json and printed):
            _write(found, None if printed else output, format)
    except ValueError as error:  # there is nothing to draw
        raise click.UsageError(str(error)) from None
    if as_json:
        print_json({**found.as_dict(), "errors": []})
    return status.OK


def _folders(specs: Sequence[str]) -> dict[str, Path]:
    """Return the folders of runs by the names to show; empty if networks are given.

    Raises:
        UsageError: if only some are folders, or an option is about networks.
    """
    folders = [Path(spec) for spec in specs if Path(spec).is_dir()]
    if not folders:
        return {}
    from archdsl.backends.training.folder import is_early

    if len(folders) < len(specs):
        other = next(spec for spec in specs if not Path(spec).is_dir())
        raise click.UsageError(
            f"{folders[0]} is a folder of a run, but {other} is not: draw them "
            "separately"
        )
    context = click.get_current_context()
    for option in context.command.params:
        given = context.get_parameter_source(option.name or "")
        if option.name in _OF_NETWORKS and given is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{option.opts[0]} does not apply to runs")
    begun = [folder for folder in folders if not is_early(folder)]
    if begun:  # if no run has an epoch, the error says so
        for folder in folders:
            if folder not in begun:
                say(f"note: no epoch of the run in {folder} has ended")
        folders = begun
    names = [folder.name for folder in folders]
    if len({*names}) < len(names):
        names = [str(folder) for folder in folders]
    return dict(zip(names, folders, strict=True))


def _format(output: Path | None, format: str | None) -> str:
    if format is None:
        path = Path("-.svg") if output is None or str(output) == "-" else output
        format = path.suffix.removeprefix(".").lower()
    if format not in FORMATS:
        raise click.UsageError(str(UnknownFormat(format)))
    return format


def _subjects(
    specs: Sequence[str], networks: Sequence[Network], runs: int, **setting: Any
) -> list[PlottedNetwork]:
    """Return the networks with their figures and gradients."""
    from archdsl.passes.analysis import analyze

    found = []
    for name, network in zip(specs, networks, strict=True):
        gradients = (
            measure_gradients(network, batch=setting["batch"], runs=runs)
            if runs
            else None
        )
        found.append(PlottedNetwork(name, analyze(network, **setting), gradients))
    return found


def _write(found: Plot, output: Path | None, format: str) -> None:
    data = found.encode(format)
    if output is None:
        sys.stdout.buffer.write(data)
    else:
        write_bytes(output, data)
