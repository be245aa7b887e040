"""`archdsl compare`."""

from __future__ import annotations

import sys

import click

from archdsl.cli import completion
from archdsl.cli.options import (
    SpecCommand,
    json_option,
    load_networks,
    run_options,
    width_option,
)
from archdsl.cli.terminal import fail, fit_width, print_json, wants_color


@click.command(cls=SpecCommand)
@click.argument(
    "specs",
    nargs=-1,
    required=True,
    metavar="SPEC SPEC...",
    shell_complete=completion.specs,
)
@run_options
@click.option("--markdown", is_flag=True, help="Print Markdown, for a pull request.")
@width_option
@json_option
def command(
    specs: tuple[str, ...],
    batch: int,
    dtype: str,
    optimizer: str,
    markdown: bool,
    width: int | None,
    as_json: bool,
) -> int:
    """Print the differences between networks.

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
    networks, errors = load_networks(specs)
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
        else texts.comparison_text(
            comparison,
            color=wants_color(sys.stdout),
            width=fit_width(width, sys.stdout),
        )
    )
    return 0
