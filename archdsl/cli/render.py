"""`archdsl render`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from . import status
from .files import write_with
from .options import load_network, spec_options
from .terminal import say_error


@click.command()
@spec_options
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the drawing there; its suffix tells the format. Without it, the dot "
    "source is printed.",
)
@click.option(
    "--format",
    "format_",
    metavar="FORMAT",
    help="svg, png, pdf or dot, whatever the suffix of FILE.",
)
@click.option(
    "--fold/--unfold",
    default=True,
    show_default=True,
    help="Draw a repeat once with its number, or every copy of it.",
)
def command(
    spec: str,
    params: dict[str, object],
    input_shape: tuple[int, ...] | None,
    output: Path | None,
    format_: str | None,
    fold: bool,
) -> int:
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
    try:
        if output is not None and str(output) != "-":
            write_with(output, lambda p: render(network, p, format=format_, fold=fold))
        elif format_ in (None, "dot"):
            click.echo(render(network, None, format="dot", fold=fold), nl=False)
        else:
            _print_drawing(lambda p: render(network, p, format=format_, fold=fold))
    except UnknownFormat as error:
        raise click.UsageError(str(error)) from None
    except MissingExtra as error:
        say_error(str(error))
        return status.MISSING_EXTRA
    return status.OK


def _print_drawing(draw: Callable[[Path], object]) -> None:
    """Print a drawing that the layout engine can only write to a file."""
    if sys.stdout.isatty():
        raise click.UsageError("a drawing is no text: use -o FILE")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "drawing")
        draw(path)
        sys.stdout.buffer.write(path.read_bytes())
