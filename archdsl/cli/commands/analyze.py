"""`archdsl analyze`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from archdsl.backends.views import VIEWS
from archdsl.cli.gradients import measure_gradients, runs_option
from archdsl.cli.options import (
    SpecCommand,
    device_options,
    find_device,
    json_option,
    load_network,
    parse_size,
    run_options,
    spec_options,
    width_option,
)
from archdsl.cli.terminal import (
    bars,
    fail,
    fit_width,
    print_json,
    say_diagnostics,
    status_of,
    wants_color,
)
from archdsl.diagnostics import SpecError
from archdsl.passes.setting import DEFAULT, MODES
from archdsl.torch.counting import TOOLS

if TYPE_CHECKING:
    from archdsl.backends.table import ReportStyle
    from archdsl.backends.torch.gradients import Gradients
    from archdsl.diagnostics import Diagnostic
    from archdsl.passes.analysis import Analysis


@click.command(cls=SpecCommand)
@spec_options
@run_options
@click.option(
    "--mode",
    type=click.Choice(MODES),
    default=DEFAULT.mode,
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
    help="Assume that the backward pass recomputes each block, to save memory.",
)
@click.option(
    "--fits",
    "budget",
    callback=parse_size,
    metavar="SIZE",
    help="Find the largest batch that fits into this much memory, such as 24GiB.",
)
@device_options(
    "Estimate the time on this device, too, such as a100-sxm-40gb; see "
    "`archdsl list --devices`."
)
@click.option(
    "--show",
    "shown",
    type=click.Choice((*VIEWS, "all")),
    multiple=True,
    help="Which table to print; may be repeated.  [default: layers]",
)
@click.option(
    "--depth",
    type=click.IntRange(min=1),
    metavar="N",
    help="Print N levels of the network; a block at the last level is a single row.",
)
@click.option(
    "--fold/--no-fold",
    default=None,
    help="Print consecutive equal copies once, as `x3`.  [default: only on a terminal]",
)
@width_option
@click.option(
    "--gradients",
    "with_gradients",
    is_flag=True,
    help="Run the network in torch and show the gradient norm of each layer when "
    "training starts, for 8 samples unless --batch is given.",
)
@runs_option
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
    depth: int | None,
    fold: bool | None,
    width: int | None,
    with_gradients: bool,
    runs: int,
    as_json: bool,
) -> int:
    """Print the layers of a network and its totals.

    Shows the output shape, parameters, multiply-accumulates (MACs) and receptive
    field of each layer, then the depth, totals and memory of the network. Also checks
    the claims (`expect`) of the spec. Only --gradients needs torch.

    On a terminal, tables are fitted to its width, equal copies are folded, and bars
    show the share of each layer. In a pipe, every layer is printed with exact figures.

    \b
    Examples:
      archdsl analyze googlenet
      archdsl analyze net.arch --input 3x64x64 -D classes=10
      archdsl analyze densenet121 --depth 2 --fold
      archdsl analyze resnet50 --count fvcore
      archdsl analyze resnet50 --fits 24GiB --optimizer adam
      archdsl analyze resnet50 --device a100-sxm-40gb --batch 32 --dtype bfloat16
      archdsl analyze resnet50 --show costs --show memory --batch 32
      archdsl analyze plain56 --gradients --runs 5
      archdsl analyze resnet50 --json --batch 32 --dtype bfloat16
    """
    from archdsl.passes.analysis import analyze
    from archdsl.passes.expect import check_expectations

    device = find_device(device_name, devices_file, dtype)
    if "time" in shown and device is None:
        raise click.UsageError("--show time needs a --device")
    if "counts" in shown and tool is None:
        raise click.UsageError("--show counts needs a --count")
    if runs > 1 and not with_gradients:
        raise click.UsageError("--runs needs --gradients")
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
    found = (
        measure_gradients(network, batch=batch, runs=runs) if with_gradients else None
    )
    if as_json:
        facts = analysis.as_dict()
        if found is not None:
            facts["gradients"] = found.as_dict()
        print_json({**facts, "errors": [d.as_dict() for d in refuted]})
    elif found is not None:
        _print_gradients(network.name, found)
    if not as_json and (shown or found is None):
        style = _style(depth, fold, width)
        _print_text(analysis, _views(shown, analysis), style, refuted)
    return status_of(refuted)


def _print_gradients(name: str, found: Gradients) -> None:
    from archdsl.backends.gradients import gradient_report

    sys.stdout.write(gradient_report(name, found))


def _views(shown: Sequence[str], analysis: Analysis) -> Sequence[str]:
    """Return the tables to print: by --show, or else by other options."""
    asked = {
        "counts": analysis.setting.tool,
        "memory": analysis.setting.budget or analysis.setting.recompute,
        "time": analysis.setting.device,
    }
    if "all" in shown:
        needs = {"counts", "time"}
        return [view for view in VIEWS if view not in needs or asked[view]]
    return shown or [view for view in asked if asked[view]] or VIEWS[:1]


def _style(depth: int | None, fold: bool | None, width: int | None) -> ReportStyle:
    """Return the style of tables, by options or else for a terminal or a pipe."""
    from archdsl.backends.table import ReportStyle

    terminal = sys.stdout.isatty()
    return ReportStyle(
        width=fit_width(width, sys.stdout),
        fold=terminal if fold is None else fold,
        depth=depth,
        bars=bars(sys.stdout) if terminal else "",
        color=wants_color(sys.stdout),
    )


def _print_text(
    analysis: Analysis,
    views: Sequence[str],
    style: ReportStyle,
    refuted: list[Diagnostic],
) -> None:
    from archdsl.backends.table import report

    text = report(analysis.network, analysis.facts, views=views, style=style)
    sys.stdout.write(text)
    if refuted:
        sys.stdout.flush()
        say_diagnostics(refuted)
