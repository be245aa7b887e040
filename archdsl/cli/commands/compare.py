"""`archdsl compare`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from archdsl.cli.options import json_option, run_options
from archdsl.cli.terminal import Progress, fail, print_json, wants_color
from archdsl.diagnostics import SpecError

if TYPE_CHECKING:
    from archdsl.diagnostics import Diagnostic
    from archdsl.ir import Network


@click.command()
@click.argument("specs", nargs=-1, required=True, metavar="SPEC SPEC...")
@run_options
@click.option("--markdown", is_flag=True, help="Print Markdown, for a pull request.")
@json_option
def command(
    specs: tuple[str, ...],
    batch: int,
    dtype: str,
    optimizer: str,
    markdown: bool,
    as_json: bool,
) -> int:
    """Print what differs between networks.

    Shows the totals side by side, with the differences from the first network. Then,
    for each of the others, lists the layers that were added, removed or changed, by
    their paths, and the keys of a checkpoint of the first that would not load. Does
    not need torch.

    \b
    Examples:
      archdsl compare resnet18 resnet34
      archdsl compare old.arch new.arch --markdown
      archdsl compare net.arch:small net.arch:wide net.arch:deep --json
    """
    if len(specs) < 2:
        raise click.UsageError("there is nothing to compare with: name two SPECs")
    if markdown and as_json:
        raise click.UsageError("--json and --markdown exclude each other")
    networks, errors = _load_all(specs)
    if errors:
        return fail(errors, as_json=as_json)
    from archdsl.passes.compare import compare

    comparison = compare(
        networks, names=specs, batch=batch, dtype=dtype, optimizer=optimizer
    )
    if as_json:
        print_json({**comparison.as_dict(), "errors": []})
        return 0
    from archdsl.backends import comparison as texts

    sys.stdout.write(
        texts.markdown(comparison)
        if markdown
        else texts.text(comparison, color=wants_color(sys.stdout))
    )
    return 0


def _load_all(specs: tuple[str, ...]) -> tuple[list[Network], list[Diagnostic]]:
    """Return the networks of the specs, and all that is wrong with any."""
    from archdsl.api import find_spec, load

    networks, errors = [], []
    reads_stdin = False
    with Progress(len(specs)) as progress:
        for spec in specs:
            progress.step(spec)
            try:
                if find_spec(spec)[0] is None:
                    if reads_stdin:
                        raise click.UsageError("only one SPEC can be standard input")
                    reads_stdin = True
                networks.append(load(spec, symbolic=False))
            except SpecError as error:
                errors += error.diagnostics
    return networks, errors
