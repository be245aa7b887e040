"""`archdsl schema`."""

from __future__ import annotations

from json import dumps

import click

from archdsl.cli.options import json_option
from archdsl.cli.schemas import OUTPUTS, schema
from archdsl.cli.terminal import print_json


@click.command()
@click.argument(
    "name", required=False, metavar="[NAME]", type=click.Choice(tuple(OUTPUTS))
)
@json_option
def command(name: str | None, as_json: bool) -> int:
    """Print the JSON schema of what a command prints with --json.

    Without a NAME, the commands that have one are listed.

    \b
    Examples:
      archdsl schema
      archdsl schema analyze > analyze.schema.json
    """
    if name is not None:
        click.echo(dumps(schema(name), indent=2))
    elif as_json:
        print_json({"commands": list(OUTPUTS), "errors": []})
    else:
        click.echo("\n".join(OUTPUTS))
    return 0
