"""`archdsl render`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from archdsl.cli import status
from archdsl.cli.files import writing
from archdsl.cli.options import OUTPUT_FILE, json_option, load_network, spec_options
from archdsl.cli.terminal import Failure, print_json


@click.command()
@spec_options
@click.option(
    "-o",
    "--output",
    type=OUTPUT_FILE,
    metavar="FILE",
    help="Write the drawing there; its suffix tells the format. Without it, the dot "
    "source is printed.",
)
@click.option(
    "--format",
    "format_",
    metavar="FORMAT",
    help="svg, png, pdf or dot, instead of what the suffix of FILE tells.",
)
@click.option(
    "--fold/--unfold",
    default=True,
    show_default=True,
    help="Draw a repeat once with its number, or every copy of it.",
)
@json_option
def command(
    spec: str,
    params: dict[str, object],
    input_shape: tuple[int, ...] | None,
    output: Path | None,
    format_: str | None,
    fold: bool,
    as_json: bool,
) -> None:
    """Draw a network as a graph.

    Blocks are boxes around their layers, repeats are folded, and edges carry the
    shapes of tensors. dot needs nothing else; svg, png and pdf need a layout engine:
    Graphviz's `dot`, or `pip install archdsl[render]`.

    \b
    Examples:
      archdsl render googlenet -o googlenet.svg
      archdsl render net.arch --unfold -o net.png
      archdsl render resnet18 --format dot | less
    """
    from archdsl.backends.diagram import MissingExtra, UnknownFormat, render

    network = load_network(spec, params, input_shape, symbolic=False)
    printed = output is None or str(output) == "-"
    if as_json and printed and format_ not in (None, "dot", "gv"):
        raise click.UsageError("--json holds dot text alone: use -o FILE, too")
    try:
        if output is None or printed:
            source = render(network, format=format_ or "dot", fold=fold)
            if not as_json:
                _print(source, format_ or "dot")
        else:
            with writing(output):
                source = render(network, output, format=format_, fold=fold)
    except UnknownFormat as error:
        raise click.UsageError(str(error)) from None
    except MissingExtra as error:
        raise Failure(str(error), status.MISSING_EXTRA) from None
    if as_json:
        facts = {"name": network.name, "file": None if printed else str(output)}
        print_json({**facts, "dot": source, "errors": []})


def _print(source: str, format: str) -> None:
    from archdsl.backends.diagram import FORMATS, UnknownFormat, image

    if format not in FORMATS:
        raise UnknownFormat(format)
    data = image(source, format)
    if format in ("pdf", "png") and sys.stdout.isatty():
        raise click.UsageError(f"{format} is not for a terminal: use -o FILE")
    sys.stdout.buffer.write(data)
