"""`archdsl expand`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from archdsl.cli.files import write_bytes
from archdsl.cli.options import (
    OUTPUT_FILE,
    SpecCommand,
    check_written,
    json_option,
    load_network,
    spec_options,
)
from archdsl.cli.terminal import print_json

if TYPE_CHECKING:
    from archdsl.ir import Network


@click.command(cls=SpecCommand)
@spec_options
@click.option(
    "-o",
    "--output",
    type=OUTPUT_FILE,
    metavar="FILE",
    help="Write to this file instead of printing: a spec, or a network as JSON if the "
    "name ends in .json.",
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
    Blocks and repeats stay, and so do parameters that still have an effect. The new
    spec describes the same network: before it is printed, it is parsed and compared.

    A network as JSON lists every layer with its shapes, for other programs. Commands
    that take one network accept it as SPEC.

    \b
    Examples:
      archdsl expand mobilenet_v3_small
      archdsl expand resnet18 -D classes=10 -o mine.arch
      archdsl expand resnet18 -o resnet18.json
    """
    network = load_network(spec, params, input_shape, symbolic=True)
    check_written(network)
    as_data = output is not None and output.suffix == ".json"
    text = _data(network) if as_data else _text(network)
    printed = output is None or str(output) == "-"
    if output is not None and not printed:
        write_bytes(output, text.encode())
    if as_json:
        facts = {"name": network.name, "file": None if printed else str(output)}
        print_json({**facts, "text": text, "errors": []})
    elif printed:
        click.echo(text, nl=False)


def _text(network: Network) -> str:
    """Return a spec of a network.

    Raises:
        SpecError: if there is none, which is possible for networks from JSON.
    """
    from archdsl.api import expand
    from archdsl.backends.spec import Unwritable
    from archdsl.diagnostics import Diagnostic, SpecError

    try:
        return expand(network)
    except Unwritable as error:
        raise SpecError([Diagnostic("A0506", str(error))]) from None


def _data(network: Network) -> str:
    """Return a network as JSON.

    Raises:
        SpecError: if it has layers that only its spec declares.
    """
    from archdsl.diagnostics import Diagnostic, SpecError

    try:
        return network.model_dump_json(indent=1) + "\n"
    except ValueError as error:
        raise SpecError([Diagnostic("A0505", str(error))]) from None
