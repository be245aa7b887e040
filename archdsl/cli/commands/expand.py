"""`archdsl expand`."""

from __future__ import annotations

from pathlib import Path

import click

from archdsl.cli.files import write_bytes
from archdsl.cli.options import (
    OUTPUT_FILE,
    SpecCommand,
    json_option,
    load_network,
    spec_options,
)
from archdsl.cli.terminal import print_json


@click.command(cls=SpecCommand)
@spec_options
@click.option(
    "-o",
    "--output",
    type=OUTPUT_FILE,
    metavar="FILE.arch",
    help="Write the spec to this file instead of printing it.",
)
@json_option
def command(
    spec: str,
    params: dict[str, object],
    input_shape: tuple[int, ...] | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Print the spec of one network with everything written out.

    Imports, conditions, functions and computed lists are replaced by their results.
    Blocks and repeats stay, and so do the parameters that still decide something. The
    new spec describes the same network: it is read again and compared before it is
    printed.

    \b
    Examples:
      archdsl expand mobilenet_v3_small
      archdsl expand resnet18 -D classes=10 -o mine.arch
    """
    from archdsl.api import expand

    network = load_network(spec, params, input_shape, symbolic=True)
    text = expand(network)
    printed = output is None or str(output) == "-"
    if output is not None and not printed:
        write_bytes(output, text.encode())
    if as_json:
        facts = {"name": network.name, "file": None if printed else str(output)}
        print_json({**facts, "text": text, "errors": []})
    elif printed:
        click.echo(text, nl=False)
