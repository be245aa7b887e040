"""`archdsl sweep`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import click

from archdsl.cli import completion, status
from archdsl.cli.files import write_bytes, writing
from archdsl.cli.options import (
    DATA,
    OUTPUT_FILE,
    SpecCommand,
    changes_option,
    json_option,
    processor_option,
    run_options,
    spec_options,
    split_params,
)
from archdsl.cli.terminal import Failure, Meter, fail, print_json, say
from archdsl.diagnostics import SpecError
from archdsl.figures import COMPARED

if TYPE_CHECKING:
    from archdsl.sweeps import Axis, Sweep, Training

_PRUNERS = ("halving", "hyperband", "median", "none")
# Rows of the table without `--top`.
_ROWS = 50


class _Command(SpecCommand):
    """Takes `--ray` with and without an address, and lists the figures in its help."""

    def get_help(self, ctx: click.Context) -> str:
        """Return the help, with the names of all figures."""
        names = fill(", ".join(COMPARED), 74).replace("\n", "\n      ")
        self.help = (self.help or "").replace("{figures}", names)
        return super().get_help(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; an axis after `--ray` is not an address."""
        given = list(args)
        for at, arg in enumerate(given):
            following = given[at + 1 : at + 2]
            if arg == "--ray" and (
                not following or "=" in following[0] or following[0].startswith("-")
            ):
                given[at] = "--ray=auto"
        return super().parse_args(ctx, given)


def _axes(
    ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]
) -> tuple[Axis, ...]:
    from archdsl.sweeps import AxisError, TooMany, parse_axis

    try:
        return tuple(parse_axis(text) for text in texts)
    except TooMany as error:
        raise Failure(str(error), status.LIMIT) from None
    except AxisError as error:
        raise click.BadParameter(str(error)) from None


@click.command(cls=_Command)
@spec_options
@click.argument("axes", nargs=-1, metavar="NAME=VALUES...", callback=_axes)
@click.option(
    "--where",
    metavar="TEST",
    help="Keep the points where this is true, such as 'params < 5M and macs < 600M'.",
)
@click.option(
    "--pareto",
    metavar="NAMES",
    shell_complete=completion.figures,
    help="Keep the Pareto front of these figures: the points that no other point "
    "dominates. A minus, as in params,-depth, means that more is better.",
)
@click.option(
    "--sort",
    metavar="NAMES",
    shell_complete=completion.figures,
    help="Sort by these figures; -NAME: largest first.",
)
@click.option(
    "--top", type=click.IntRange(1), metavar="N", help="Keep the first N points."
)
@click.option(
    "--columns",
    metavar="NAMES",
    shell_complete=completion.figures,
    help="Figures to show. By default params, macs and those used in other options.",
)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Write all points, with columns that say which were kept and which failed.",
)
@click.option(
    "--sample",
    type=click.IntRange(1),
    metavar="N",
    help="Compute N points chosen at random.",
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="Seed of --sample, and of the runs of --train.",
)
@run_options
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1, 4096),
    metavar="N",
    help="Number of processes. By default one per core, or one for short sweeps.",
)
@click.option(
    "--ray",
    metavar="[ADDRESS]",
    help="Compute on the Ray cluster at ADDRESS. Without ADDRESS, use RAY_ADDRESS from "
    "the environment, or start a cluster here.",
)
@click.option(
    "-o",
    "--output",
    type=OUTPUT_FILE,
    metavar="FILE",
    help="Write the points to a .csv, .json, .jsonl or .parquet file. An interrupted "
    "run continues from FILE.journal.",
)
@click.option(
    "--resume/--restart",
    default=True,
    show_default=True,
    help="Continue from FILE.journal if it exists, or start again.",
)
@click.option(
    "--plot",
    "plot_",
    type=OUTPUT_FILE,
    metavar="FILE",
    help="Plot all points and the front, as .svg, .png or .pdf.",
)
@click.option(
    "--train",
    "recipe_name",
    metavar="NAME|FILE",
    shell_complete=completion.recipes,
    help="Train each point by a recipe, and stop those that fall behind. Adds the "
    "figures accuracy and epochs. Needs Optuna.",
)
@click.option("--data", "data_name", metavar="DATA", help=f"For --train: {DATA}")
@changes_option
@click.option(
    "--pruner",
    type=click.Choice(_PRUNERS),
    default="halving",
    show_default=True,
    help="For --train: how points are stopped early. With successive halving, one in "
    "three continues after 1, 3, 9, ... epochs.",
)
@processor_option
@json_option
def command(
    spec: str,
    axes: tuple[Axis, ...],
    params: dict[str, object],
    input_shape: tuple[int, ...] | None,
    output: Path | None,
    resume: bool,
    plot_: Path | None,
    recipe_name: str | None,
    data_name: str | None,
    changes: tuple[str, ...],
    pruner: str,
    processor: str,
    as_json: bool,
    **options: Any,
) -> int:
    """Compute the figures of many variants of a network.

    Each NAME=VALUES is a parameter of the network that varies, or input or preset: a
    range such as 32..128:16, or values between commas. All combinations are computed.
    Only --train needs torch.

    \b
    Figures:
      {figures}

    \b
    Examples:
      archdsl sweep net.arch width=32..128:16 --where 'params < 5M'
      archdsl sweep resnet50 'layers=[2,2,2,2],[3,4,6,3]' input=3x160x160,3x224x224
      archdsl sweep net.arch width=8..64:8 depth=2..9 --pareto macs,-receptive_field
      archdsl sweep resnet preset=resnet18,resnet34,resnet50 -o all.csv
      archdsl sweep net.arch width=8..64 --pareto params,macs --plot front.svg
      archdsl sweep net.arch width=8..64:8 --train digits --data digits
              --pareto params,-accuracy -o trained.csv --plot trained.svg
    """
    from archdsl.sweeps import ClusterError, Interrupted, TooMany

    _check_files(output, plot_, options)
    found, stopped = None, False
    try:
        varied = {n: v[0] for n, v, _ in axes if n not in ("input", "preset")}
        trains = recipe_name is not None
        params, more = split_params(spec, params, varied, trains=trains)
        changes += more
        options["train"] = _training(
            recipe_name, data_name, changes, pruner, processor, output, options
        )
        with _training_errors(spec, options["train"]):
            found = _run(spec, axes, params, input_shape, output, resume, options)
        if output is not None or plot_ is not None:
            with _usage_errors():
                _write(found, output, plot_)
    except SpecError as error:
        return fail(error.diagnostics, as_json=as_json)
    except ClusterError as error:
        raise Failure(str(error), status.USAGE) from None
    except TooMany as error:
        raise Failure(str(error), status.LIMIT) from None
    except Interrupted as error:
        found, stopped = error.sweep, True
        say(_interrupted(found, output))
        if output is not None:
            return status.INTERRUPTED
    with _usage_errors():
        if as_json:
            print_json({**found.as_dict(), "errors": []})
        else:
            sys.stdout.write(_text(found, options["top"] or _ROWS, output))
    return status.INTERRUPTED if stopped else status.OK


def _training(
    recipe: str | None,
    data: str | None,
    changes: tuple[str, ...],
    pruner: str,
    processor: str,
    output: Path | None,
    options: dict[str, Any],
) -> Training | None:
    """Return how points are trained; None without --train."""
    if recipe is None:
        if data is not None or changes:
            raise click.UsageError("--data and --set need --train")
        return None
    if data is None:
        raise click.UsageError("--train needs --data")
    if options["ray"] is not None or options["jobs"] not in (None, 1):
        raise click.UsageError(
            "--train runs in one process: leave --jobs and --ray out"
        )
    from archdsl.cli.training import find_recipe
    from archdsl.sweeps import Training

    folder = None if output is None else output.with_name(f"{output.name}.runs")
    found = find_recipe(recipe, data, changes)
    return Training(found, data, pruner, options["seed"], folder, processor, say)


def _training_errors(spec: str, training: Training | None) -> Any:
    if training is None:
        return nullcontext()
    from archdsl.cli.training import running

    return running(spec, "training needs")


def _run(
    spec: str,
    axes: tuple[Axis, ...],
    params: dict[str, object],
    input_shape: tuple[int, ...] | None,
    output: Path | None,
    resume: bool,
    options: dict[str, Any],
) -> Sweep:
    """Run the sweep, and show its progress."""
    from archdsl.sweeps import JournalError
    from archdsl.sweeps import sweep as run

    names = {n: _names(options[n]) for n in ("pareto", "sort", "columns")}
    ray = options["ray"]
    settings = {**options, **names, "ray": False if ray is None else ray}
    journal = None if output is None else _journal(output)
    meter: list[Meter] = []

    def begin(total: int) -> Meter:
        meter.append(Meter(total))
        return meter[0]

    try:
        with _usage_errors(), _writing(journal):
            return run(
                spec,
                axes,
                params=params,
                input=input_shape,
                journal=journal,
                restart=not resume,
                progress=begin,
                **settings,
            )
    except JournalError as error:
        help = "remove it, or start again with --restart"
        raise click.UsageError(f"{error}: {help}") from None
    finally:
        for shown in meter:
            shown.end()


@contextmanager
def _usage_errors() -> Iterator[None]:
    """Turn mistakes in axes, objectives and the condition into messages.

    If an axis has values of several types, a condition may only fail when points are
    evaluated.
    """
    from archdsl.sweeps import AxisError, ConditionError, ObjectiveError

    try:
        yield
    except (AxisError, ConditionError, ObjectiveError) as error:
        raise click.UsageError(str(error)) from None


def _names(text: str | None) -> list[str] | None:
    return text.split(",") if text else None


def _writing(journal: Path | None) -> Any:
    return nullcontext() if journal is None else writing(journal)


def _journal(output: Path) -> Path:
    return output.with_name(f"{output.name}.journal")


# ---- files --------------------------------------------------------


def _check_files(output: Path | None, plot: Path | None, options: Any) -> None:
    """Refuse, before the sweep runs, outputs that could not be written afterwards."""
    from archdsl.sweeps.output import FORMATS, PLOTS, UnknownFormat

    try:
        for path, known in ((output, FORMATS), (plot, PLOTS)):
            if path is not None and _suffix(path) not in known:
                raise UnknownFormat(_suffix(path), known)
    except UnknownFormat as error:
        raise click.UsageError(str(error)) from None
    if plot is not None and len(_names(options["pareto"]) or ()) < 2:
        raise click.UsageError(
            "--plot draws a front of two figures: add --pareto params,macs"
        )


def _suffix(path: Path) -> str:
    return path.suffix.removeprefix(".").lower()


def _write(found: Sweep, output: Path | None, plot: Path | None) -> None:
    from archdsl.sweeps.output import encode_rows, plot_points

    if output is not None:
        write_bytes(output, encode_rows(found, _suffix(output)))
    if plot is not None:
        write_bytes(plot, plot_points(found, _suffix(plot)))
    if output is not None:
        # The journal is removed only after everything was written.
        with suppress(OSError):
            _journal(output).unlink()


def _interrupted(found: Sweep, output: Path | None) -> str:
    done = f"{len(found.points):,} of {found.total:,} points"
    if output is None:
        return f"interrupted: these are {done}"
    return (
        f"interrupted: {done} are kept in {_journal(output)}; the same command "
        "continues from there"
    )


# ---- output --------------------------------------------------------


def _text(found: Sweep, rows: int, output: Path | None) -> str:
    """Return a table of the first points, and a summary of all."""
    from archdsl.backends.text import align

    records = list(found.records())
    lines = []
    if records:
        cells = [
            tuple(_cell(value) for value in record.values())
            for record in records[:rows]
        ]
        right = [
            at
            for at, name in enumerate(found.header)
            if all(isinstance(r[name], int | float) for r in records[:rows])
        ]
        lines += [*align([found.header, *cells], right), ""]
    if len(records) > rows:
        hint = "" if output else "; --top shows more, -o writes them all"
        lines += [f"and {len(records) - rows:,} more{hint}", ""]
    return "\n".join([*lines, *_summary(found), ""])


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _summary(found: Sweep) -> list[str]:
    """Return how many points were kept, and why others were refused."""
    done = len(found.points)
    parts = [f"{done:,} point{'s' * (done != 1)}"]
    if len(found.points) < found.total:
        parts[0] += f" of {found.total:,}"
    if found.where is not None:
        parts.append(f"{len(found.fitting):,} fit")
    if found.objectives:
        names = ", ".join(map(str, found.objectives))
        parts.append(f"{len(found.front):,} on the front of {names}")
    if len(found.kept) < len(found.front or found.fitting):
        parts.append(f"{len(found.kept):,} kept")
    lines = [", ".join(parts)]
    for refusal in found.refused:
        lines.append(
            f"refused by {refusal.code}: {refusal.points:,}, "
            f"such as {refusal.first.label}: {refusal.message}"
        )
    return lines
