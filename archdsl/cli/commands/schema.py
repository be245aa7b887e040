"""`archdsl schema`."""

from __future__ import annotations

from json import dumps

import click

from archdsl.cli.options import json_option
from archdsl.cli.schemas import OUTPUTS, output_schema
from archdsl.cli.terminal import print_json

# The name of the schema of networks, besides those of commands.
NETWORK = "network"


@click.command()
@click.argument(
    "name", required=False, metavar="[NAME]", type=click.Choice((*OUTPUTS, NETWORK))
)
@json_option
def command(name: str | None, as_json: bool) -> int:
    """Print the JSON schema of what a command prints with --json.

    Without a NAME, lists the commands that have a schema. The NAME network stands for
    the .json files that `archdsl expand` writes.

    \b
    Examples:
      archdsl schema
      archdsl schema analyze > analyze.schema.json
    """
    if name == NETWORK:
        from archdsl.ir import Network

        click.echo(dumps(Network.model_json_schema(), indent=2))
    elif name is not None:
        click.echo(dumps(output_schema(name), indent=2))
    elif as_json:
        print_json({"commands": list(OUTPUTS), "errors": []})
    else:
        click.echo("\n".join(OUTPUTS))
    return 0
