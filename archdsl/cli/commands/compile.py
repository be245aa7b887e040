"""`archdsl compile`."""

from __future__ import annotations

from pathlib import Path

import click

from archdsl.cli.files import write_bytes
from archdsl.cli.options import (
    OUTPUT_FILE,
    SpecCommand,
    find_passes,
    json_option,
    load_proved,
    names,
    numbers,
    pass_options,
    spec_options,
)
from archdsl.cli.terminal import print_json, say


@click.command(cls=SpecCommand)
@spec_options
@click.option(
    "-o",
    "--output",
    type=OUTPUT_FILE,
    metavar="FILE.py",
    help="Write the module to this file instead of printing it.",
)
@click.option(
    "--taps",
    metavar="PATHS",
    callback=names,
    help="Give out the features at these layers and blocks, such as layer3,layer4, and "
    "leave out what they do not need.",
)
@click.option(
    "--strides",
    metavar="NUMBERS",
    callback=numbers,
    help="Give out the last features of each of these strides, such as 8,16,32.",
)
@click.option(
    "--without-head",
    is_flag=True,
    help="End with the last map, before the global pool and the classifier.",
)
@click.option(
    "--modules",
    is_flag=True,
    help="Make modules of activations and pools, too, so that hooks see them.",
)
@click.option(
    "--inference",
    is_flag=True,
    help="Make a module for inference alone: without auxiliary heads, dropout and "
    "batch norms, and with branches merged. `archdsl weights --for inference` makes "
    "its weights.",
)
@click.option(
    "--recompute",
    is_flag=True,
    help="Let the backward pass run blocks again, so that training keeps their inputs "
    "alone, as `archdsl analyze --recompute` counts.",
)
@pass_options
@json_option
def command(
    spec: str,
    params: dict[str, object],
    input_shape: tuple[int, ...] | None,
    output: Path | None,
    inference: bool,
    recompute: bool,
    level: int | None,
    passes: tuple[str, ...] | None,
    taps: tuple[str, ...] | None,
    strides: tuple[int, ...],
    without_head: bool,
    modules: bool,
    as_json: bool,
) -> None:
    """Compile a network to a Python module that only needs torch.

    The claims (`expect`) of the spec are checked first. The module is written but not
    run, so compiling does not need torch. If the spec declares foreign layers (`op`),
    the module imports their classes, which are listed on standard error.

    The module is what the spec says, layer by layer, unless -O, --passes or --inference
    ask for another that computes the same.

    \b
    Examples:
      archdsl compile googlenet -o googlenet.py
      archdsl compile resnet:resnet18 -D classes=10 > resnet18.py
      archdsl compile repvgg_a0 --inference -o repvgg_a0.py
      archdsl compile densenet121 --recompute -o densenet121.py
      archdsl compile resnet50 --taps layer2,layer3,layer4 -o backbone.py
      archdsl compile vgg16 --modules -o vgg16.py
    """
    from archdsl.backends.torch import emit, foreign_names
    from archdsl.transforms import Backbone, CannotCut, pipeline

    if inference and recompute:
        raise click.UsageError("--recompute is for training, and --inference is not")
    names_of_passes = find_passes(level, passes, inference)
    network = load_proved(spec, params, input_shape)
    if taps or strides or without_head:
        try:
            network = Backbone(taps or (), strides, not without_head).apply(network)
        except CannotCut as error:
            raise click.UsageError(str(error)) from None
    used = pipeline(passes=names_of_passes, inference=inference).apply(network)
    note = _note(names_of_passes, inference) if used is not network else ""
    text = emit(
        used, note, as_modules=modules, recompute=recompute, inference=inference
    )
    printed = output is None or str(output) == "-"
    if output is not None and not printed:
        write_bytes(output, text.encode())
    names = foreign_names(network)
    if as_json:
        facts = {
            "name": network.name,
            "file": None if printed else str(output),
            "passes": names_of_passes,
            "recompute": recompute,
        }
        print_json({**facts, "module": text, "imports": list(names), "errors": []})
    elif printed:
        click.echo(text, nl=False)
    if names:
        say(f"the module imports {', '.join(names)}, which must be found where it runs")


def _note(passes: list[str], inference: bool) -> str:
    """Return what the module says of the transformations that made it."""
    names = ", ".join(passes)
    if not inference:
        return f"Transformed by {names}; it computes the same."
    return (
        f"For inference alone, as transformed by {names}. "
        "`archdsl weights --for inference` makes its weights of a checkpoint."
    )
