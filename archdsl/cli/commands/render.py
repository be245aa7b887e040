"""`archdsl render`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archdsl.cli.files import writing
from archdsl.cli.options import (
    OUTPUT_FILE,
    SpecCommand,
    check_written,
    json_option,
    load_network,
    spec_options,
)
from archdsl.cli.terminal import print_json
from archdsl.limits import DPI

if TYPE_CHECKING:
    from archdsl.backends.diagram import Drawing


@click.command(cls=SpecCommand)
@spec_options
@click.option(
    "-o",
    "--output",
    type=OUTPUT_FILE,
    metavar="FILE",
    help="Write the drawing there; its suffix decides the format. Without it, the "
    "dot source is printed.",
)
@click.option(
    "--format",
    "format_",
    metavar="FORMAT",
    help="svg, png, pdf or dot. Without it, the suffix of FILE decides.",
)
@click.option(
    "--fold/--unfold",
    default=True,
    show_default=True,
    help="Draw a repeat once, with its count, or draw every copy.",
)
@click.option(
    "--depth",
    type=click.IntRange(-1, 1_000),
    metavar="N",
    help="Show N levels of nested blocks; 0 closes all blocks, -1 also named groups. "
    "Without it, as many levels as fit the page.",
)
@click.option("--block", default="", metavar="NAME", help="Draw only this block.")
@click.option("--only", default="", metavar="PATH", help="Draw only this part.")
@click.option(
    "--direction", type=click.Choice(["TB", "LR"]), default="TB", show_default=True
)
@click.option(
    "--detail",
    type=click.Choice(["names", "shapes", "costs"]),
    default="shapes",
    show_default=True,
    help="What boxes show: names; shapes and parameters, too; or also MACs.",
)
@click.option(
    "--theme",
    type=click.Choice(["light", "dark", "print"]),
    default="light",
    show_default=True,
)
@click.option(
    "--style",
    type=click.Choice(["auto", "graph", "unet", "volumes"]),
    default="auto",
    show_default=True,
    help="A graph, or a U as in U-Net, which auto chooses where skips pair up, and "
    "unet requires; volumes draws a chain as boxes with the size of its maps.",
)
@click.option(
    "--shade",
    type=click.Choice(["family", "params", "macs"]),
    default="family",
    show_default=True,
    help="What colours mean: the kind of layer, or the share of parameters or MACs.",
)
@click.option(
    "--page",
    type=click.Choice(["a4", "slide"]),
    default="a4",
    show_default=True,
    help="The page that the picture must fit with text of 6 pt or more.",
)
@click.option("--title", metavar="TEXT", help='Replaces the name; "" for none.')
@click.option("--legend/--no-legend", default=True, help="Explain the colours.")
@click.option(
    "--insets/--no-insets", default=True, help="Draw closed blocks next to the network."
)
@click.option(
    "--dpi",
    type=click.IntRange(*DPI),
    default=96,
    show_default=True,
    help="Dots per inch of a png.",
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
    **looks: Any,
) -> None:
    """Draw a network as a graph.

    Blocks are frames around their layers, and repeats are drawn once. Boxes show
    parameters, and shapes where they change. As many blocks are shown in full as fit
    the page; each other kind of block is drawn once next to the network. dot text needs
    no other program; svg, png and pdf need a layout engine: Graphviz's `dot`, or `pip
    install archdsl[render]`.

    \b
    Examples:
      archdsl render googlenet -o googlenet.svg
      archdsl render net.arch --unfold -o net.png
      archdsl render resnet50 --block bottleneck --theme print -o unit.pdf
      archdsl render vgg19 --shade params --page slide -o vgg.png
      archdsl render resnet18 --format dot | less
    """
    from archdsl.backends import diagram
    from archdsl.backends.diagram import UnknownFormat, UnknownPart

    network = load_network(spec, params, input_shape, symbolic=False)
    check_written(network)
    printed = output is None or str(output) == "-"
    if as_json and printed and format_ not in (None, "dot", "gv"):
        raise click.UsageError("--json only contains dot text: use -o FILE, too")
    options = diagram.Options(fold=fold, **looks)
    try:
        diagram.check_options(options)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    try:
        if output is None or printed:
            kind = (format_ or "dot").lower()
            if kind not in diagram.FORMATS:
                raise UnknownFormat(kind)
            drawing = diagram.Drawing(network, options)
            source = drawing.source()
            if not as_json:
                _print(drawing, source, kind)
        else:
            with writing(output):
                source = diagram.render(
                    network, output, format=format_, options=options, warn=_warn
                )
    except (UnknownFormat, UnknownPart) as error:
        raise click.UsageError(str(error)) from None
    if as_json:
        facts = {"name": network.name, "file": None if printed else str(output)}
        print_json({**facts, "dot": source, "errors": []})


def _print(drawing: Drawing, source: str, format: str) -> None:
    from archdsl.backends.diagram.layout import TEXT_FORMATS

    if format in ("pdf", "png") and sys.stdout.isatty():
        raise click.UsageError(f"{format} is not for a terminal: use -o FILE")
    is_text = format in TEXT_FORMATS
    data = source.encode() if is_text else drawing.image(format, _warn)
    sys.stdout.buffer.write(data)


def _warn(line: str) -> None:
    click.echo(f"warning: {line.removeprefix('Warning: ')}", err=True)
