"""`archdsl analyze`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from archdsl.backends.views import VIEWS
from archdsl.cli.options import (
    INPUT_FILE,
    json_option,
    load_network,
    run_options,
    size,
    spec_options,
)
from archdsl.cli.terminal import (
    fail,
    print_json,
    say_diagnostics,
    status_of,
    wants_color,
)
from archdsl.diagnostics import SpecError
from archdsl.passes.conventions import TOOLS

if TYPE_CHECKING:
    from archdsl.diagnostics import Diagnostic
    from archdsl.passes.analysis import Analysis
    from archdsl.passes.devices import Device

MODES = ("eval", "train")


@click.command()
@spec_options
@run_options
@click.option(
    "--mode",
    type=click.Choice(MODES),
    default="eval",
    show_default=True,
    help="Count the operations of inference, or of training with auxiliary heads.",
)
@click.option(
    "--count",
    "tool",
    type=click.Choice(tuple(TOOLS)),
    help="Show what this tool counts, too; see `archdsl explain counts`.",
)
@click.option(
    "--recompute",
    is_flag=True,
    help="Assume that the backward pass runs each block again, to save memory.",
)
@click.option(
    "--fits",
    "budget",
    callback=size,
    metavar="SIZE",
    help="Find the largest batch that fits in this much memory, such as 24GiB.",
)
@click.option(
    "--device",
    "device_name",
    metavar="NAME",
    help="Estimate the time on this device, too, such as a100-sxm-40gb; see "
    "`archdsl list --devices`.",
)
@click.option(
    "--devices",
    "devices_file",
    type=INPUT_FILE,
    help="A TOML file that describes more devices.",
)
@click.option(
    "--show",
    "shown",
    type=click.Choice((*VIEWS, "all")),
    multiple=True,
    help="Which table to print; may be repeated.  [default: layers]",
)
@json_option
def command(
    spec: str,
    params: dict[str, object],
    input_shape: tuple[int, ...] | None,
    batch: int,
    dtype: str,
    optimizer: str,
    mode: str,
    recompute: bool,
    budget: int | None,
    tool: str | None,
    device_name: str | None,
    devices_file: str | None,
    shown: tuple[str, ...],
    as_json: bool,
) -> int:
    """Print the layers of a network and its totals.

    Shows the output shape, parameters, multiply-accumulates (MACs) and receptive
    field of each layer, then the depth, totals and memory of the network. Checks
    what the spec claims with `expect`. Does not need torch.

    \b
    Examples:
      archdsl analyze googlenet
      archdsl analyze net.arch --input 3x64x64 -D classes=10
      archdsl analyze resnet50 --count fvcore
      archdsl analyze resnet50 --fits 24GiB --optimizer adam
      archdsl analyze resnet50 --device a100-sxm-40gb --batch 32 --dtype bfloat16
      archdsl analyze resnet50 --show costs --show memory --batch 32
      archdsl analyze resnet50 --json --batch 32 --dtype bfloat16
    """
    from archdsl.passes.analysis import analyze
    from archdsl.passes.expect import check_expectations

    device = _device(device_name, devices_file, dtype)
    if "time" in shown and device is None:
        raise click.UsageError("--show time needs a --device")
    if "counts" in shown and tool is None:
        raise click.UsageError("--show counts needs a --count")
    try:
        network = load_network(spec, params, input_shape, symbolic=tool is not None)
    except SpecError as error:
        return fail(error.diagnostics, as_json=as_json)
    analysis = analyze(
        network,
        batch=batch,
        dtype=dtype,
        optimizer=optimizer,
        mode=mode,
        recompute=recompute,
        tool=tool,
        device=device,
        budget=budget,
    )
    # Claims are about inference, in archdsl's own figures.
    inference = analysis if mode == "eval" else analyze(network)
    refuted = check_expectations(network, inference)
    if as_json:
        print_json({**analysis.as_dict(), "errors": [d.as_dict() for d in refuted]})
    else:
        _print_text(analysis, _views(shown, analysis), refuted)
    return status_of(refuted)


def _device(name: str | None, file: str | None, dtype: str) -> Device | None:
    if name is None and file is None:
        return None
    if name is None:
        raise click.UsageError("--devices has devices, and --device takes one of them")
    from archdsl.passes.devices import DeviceError, device, devices

    try:
        found = device(name, devices(file))
        found.matrix_rate(dtype)
    except DeviceError as error:
        raise click.UsageError(str(error)) from None
    return found


def _views(shown: Sequence[str], analysis: Analysis) -> Sequence[str]:
    """Return the tables to print: those asked for, or that of what is asked about."""
    asked = {
        "counts": analysis.setting.tool,
        "memory": analysis.setting.budget or analysis.setting.recompute,
        "time": analysis.setting.device,
    }
    if "all" in shown:
        needs = {"counts", "time"}
        return [view for view in VIEWS if view not in needs or asked[view]]
    return shown or [view for view in asked if asked[view]] or VIEWS[:1]


def _print_text(
    analysis: Analysis, views: Sequence[str], refuted: list[Diagnostic]
) -> None:
    from archdsl.backends.table import report

    sys.stdout.write(
        report(
            analysis.network,
            analysis.facts,
            views=views,
            color=wants_color(sys.stdout),
        )
    )
    if refuted:
        sys.stdout.flush()
        say_diagnostics(refuted)
