"""`archdsl compile`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from archdsl.cli import status
from archdsl.cli.files import write_bytes
from archdsl.cli.options import (
    OUTPUT_FILE,
    SpecCommand,
    device_options,
    find_device,
    find_passes,
    json_option,
    load_proved,
    parse_size,
    pass_options,
    run_options,
    spec_options,
    split_names,
    split_numbers,
)
from archdsl.cli.terminal import Failure, print_json, say

if TYPE_CHECKING:
    from archdsl.ir import Network
    from archdsl.passes.devices import Device
    from archdsl.passes.lean import Lean


@click.command(cls=SpecCommand)
@spec_options
@click.option(
    "-o",
    "--output",
    type=OUTPUT_FILE,
    metavar="FILE.py",
    help="Write the module to this file instead of printing it.",
)
@click.option(
    "--taps",
    metavar="PATHS",
    callback=split_names,
    help="Return the outputs of these layers and blocks, such as layer3,layer4, and "
    "leave out what they do not need.",
)
@click.option(
    "--strides",
    metavar="NUMBERS",
    callback=split_numbers,
    help="Return the last map of each of these strides, such as 8,16,32.",
)
@click.option(
    "--without-head",
    is_flag=True,
    help="End with the last map, before the global pool and the classifier.",
)
@click.option(
    "--modules",
    is_flag=True,
    help="Make modules of activations and pools, too, so that hooks see them.",
)
@click.option(
    "--inference",
    is_flag=True,
    help="Make a module for inference only: without auxiliary heads, dropout and "
    "batch norms, and with branches merged. `archdsl weights --for inference` "
    "converts weights for it.",
)
@click.option(
    "--packed/--no-packed",
    default=None,
    help="With --inference, call oneDNN's convolutions on a CPU, activations included. "
    "This is the default unless -O1, --passes or --modules is given.",
)
@click.option(
    "--recompute",
    is_flag=True,
    help="Run blocks again in the backward pass, so that training keeps only their "
    "inputs; `archdsl analyze --recompute` shows the memory.",
)
@click.option(
    "--fits",
    "budget",
    callback=parse_size,
    metavar="SIZE",
    help="With --recompute, recompute only what is needed for a step of --batch "
    "images to fit into this much memory, such as 24GiB.",
)
@run_options
@device_options(
    "With --fits, count time by the roofline of this device; see `archdsl list "
    "--devices`. Otherwise operations are counted."
)
@pass_options
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    spec: str,
    params: dict[str, object],
    input_shape: tuple[int, ...] | None,
    output: Path | None,
    inference: bool,
    packed: bool | None,
    recompute: bool,
    budget: int | None,
    batch: int,
    dtype: str,
    optimizer: str,
    device_name: str | None,
    devices_file: str | None,
    level: int | None,
    passes: tuple[str, ...] | None,
    taps: tuple[str, ...] | None,
    strides: tuple[int, ...],
    without_head: bool,
    modules: bool,
    as_json: bool,
) -> None:
    """Compile a network to a Python module that only needs torch.

    The claims (`expect`) of the spec are checked first. The module is written but not
    run, so compiling does not need torch. If the spec declares foreign layers (`op`),
    the module imports their classes, which are listed on standard error.

    The module has the layers of the spec, except for those that do nothing. -O,
    --passes and --inference transform the network further, without changing what it
    computes.

    \b
    Examples:
      archdsl compile googlenet -o googlenet.py
      archdsl compile resnet:resnet18 -D classes=10 > resnet18.py
      archdsl compile repvgg_a0 --inference -o repvgg_a0.py
      archdsl compile densenet121 --recompute -o densenet121.py
      archdsl compile resnet50 --recompute --fits 24GiB --batch 256 -o resnet50.py
      archdsl compile resnet50 --taps layer2,layer3,layer4 -o backbone.py
      archdsl compile vgg16 --modules -o vgg16.py
    """
    from archdsl.backends.torch import emit, foreign_names
    from archdsl.transforms import Backbone, CannotCut, pipeline

    if inference and recompute:
        raise click.UsageError(
            "--recompute is for training, so it excludes --inference"
        )
    if packed is None:
        packed = inference and not modules and passes is None and level in (None, 2)
    elif packed and (modules or not inference):
        other = "not for --modules" if modules else "for --inference"
        raise click.UsageError(f"--packed is {other}")
    _check_fits(ctx, budget, recompute)
    device = find_device(device_name, devices_file, dtype)
    names_of_passes = find_passes(level, passes, inference)
    network = load_proved(spec, params, input_shape)
    if taps or strides or without_head:
        try:
            network = Backbone(taps or (), strides, not without_head).apply(network)
        except CannotCut as error:
            raise click.UsageError(str(error)) from None
    used = pipeline(passes=names_of_passes, inference=inference).apply(network)
    note = _note(names_of_passes, inference) if used is not network else ""
    chosen = None
    if budget is not None:
        chosen = _lean(used, budget, batch, dtype, optimizer, device)
    again = recompute if chosen is None else frozenset(chosen.parts)
    text = emit(
        used,
        note,
        as_modules=modules,
        recompute=again,
        inference=inference,
        packed=packed,
    )
    printed = output is None or str(output) == "-"
    if output is not None and not printed:
        write_bytes(output, text.encode())
    names = foreign_names(network)
    if as_json:
        facts = {
            "name": network.name,
            "file": None if printed else str(output),
            "passes": names_of_passes,
            "packed": packed,
            "recompute": recompute,
            "fits": None if chosen is None else chosen.as_dict(),
        }
        print_json({**facts, "module": text, "imports": list(names), "errors": []})
    elif printed:
        click.echo(text, nl=False)
    if chosen is not None:
        for line in _told(chosen):
            say(line)
    if names:
        say(f"the module imports {', '.join(names)}, which must be importable")


# Options about a training step, which only --fits uses.
_OF_FITS = ("batch", "dtype", "optimizer", "device_name", "devices_file")


def _check_fits(ctx: click.Context, budget: int | None, recompute: bool) -> None:
    if budget is not None:
        if not recompute:
            raise click.UsageError("--fits needs --recompute")
        return
    for name in _OF_FITS:
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = name.removesuffix("_name").removesuffix("_file")
            raise click.UsageError(f"--{option} needs --fits")


def _lean(
    network: Network,
    budget: int,
    batch: int,
    dtype: str,
    optimizer: str,
    device: Device | None,
) -> Lean:
    """Return which blocks to recompute for a step to fit.

    Raises:
        Failure: if no choice fits.
    """
    from archdsl.backends.text import show_bytes
    from archdsl.passes.analysis import analyze
    from archdsl.passes.lean import DoesNotFit, lean

    facts = analyze(network, batch=batch, dtype=dtype, optimizer=optimizer)
    try:
        return lean(facts.memory, budget, device)
    except DoesNotFit as error:
        least = show_bytes(error.least_bytes)
        raise Failure(
            f"a step of {batch:,} images does not fit into {show_bytes(budget)}: the "
            f"smallest need that was found is {least}, with blocks recomputed",
            status.LIMIT,
        ) from None


def _told(chosen: Lean) -> list[str]:
    """Return a table of what is recomputed, and of its effect."""
    from archdsl.backends.text import align, show_bytes
    from archdsl.backends.views.time import show_seconds

    steps = [("keeping all", chosen.before), ("chosen", chosen.after)]
    if chosen.whole not in (chosen.before, chosen.after):
        steps.append(("all blocks", chosen.whole))
    rows: list[tuple[str, ...]] = [("", "peak", "kept", "operations", "time")]
    for name, step in steps:
        more = step.flops / max(chosen.before.flops, 1)
        sizes = (show_bytes(step.peak_bytes), show_bytes(step.saved_bytes))
        time = "" if step.seconds is None else show_seconds(step.seconds)
        rows.append((name, *sizes, f"x {more:.3f}", time))
    if chosen.before.seconds is None:
        rows = [row[:-1] for row in rows]
    what = ", ".join(chosen.parts) or "nothing; it fits without"
    return [*align(rows, right=range(1, 5)), f"recomputed: {what}"]


def _note(passes: list[str], inference: bool) -> str:
    """Return the comment in the module about its transformations."""
    names = ", ".join(passes)
    if not inference:
        return f"Transformed by {names}; it computes the same."
    return (
        f"For inference only; transformed by {names}. `archdsl weights --for "
        "inference` converts a checkpoint for it."
    )
