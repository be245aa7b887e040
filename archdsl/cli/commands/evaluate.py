"""`archdsl evaluate`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from archdsl.cli.images import split_floats
from archdsl.cli.options import (
    DATA,
    INPUT_FILE,
    SpecCommand,
    json_option,
    load_network,
    processor_option,
    spec_options,
)
from archdsl.cli.terminal import print_json, say
from archdsl.cli.training import running


@click.command(cls=SpecCommand)
@spec_options
@click.argument("weights", type=INPUT_FILE)
@click.option(
    "--data",
    "data_name",
    required=True,
    metavar="DATA",
    help=f"{DATA} Its test images are used.",
)
@click.option(
    "--train",
    "on_train",
    is_flag=True,
    help="Use the training images instead.",
)
@click.option(
    "--classes",
    "everything",
    is_flag=True,
    help="Show all classes and the confusion matrix.",
)
@click.option(
    "--mean",
    callback=split_floats,
    metavar="X,Y,Z",
    help="Mean to subtract from each channel, whose values are from 0 to 1.  "
    "[default: as the weights were trained; or that of ImageNet or the arrays]",
)
@click.option(
    "--std",
    "deviation",
    callback=split_floats,
    metavar="X,Y,Z",
    help="Standard deviation to then divide each channel by.  [default: as for --mean]",
)
@click.option(
    "--crop",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="SHARE",
    help="Share of an image's shorter side to keep.  [default: as the weights were "
    "trained; or 0.875 of files]",
)
@click.option(
    "--batch",
    type=click.IntRange(1, 1_000_000),
    default=64,
    show_default=True,
    help="Images per batch.",
)
@processor_option
@click.option(
    "--workers",
    type=click.IntRange(0, 256),
    default=0,
    show_default=True,
    metavar="N",
    help="Processes that read images.",
)
@json_option
def command(
    spec: str,
    params: dict[str, object],
    input_shape: tuple[int, ...] | None,
    weights: str,
    data_name: str,
    on_train: bool,
    everything: bool,
    mean: tuple[float, ...],
    deviation: tuple[float, ...],
    crop: float | None,
    batch: int,
    processor: str,
    workers: int,
    as_json: bool,
) -> None:
    """Measure the accuracy of a trained network on images.

    Prints top-1 and top-5 accuracy, the calibration error (Guo et al. 2017), and for
    each class its precision, its recall and the class that it is most often confused
    with. WEIGHTS is any file that `archdsl weights` reads. Files of `archdsl train`
    record how images are prepared.

    \b
    Examples:
      archdsl evaluate digits.arch runs/digits/weights.safetensors --data digits
      archdsl evaluate resnet50 resnet50.pth --data imagenet --workers 8
    """
    from archdsl.backends.training import classes_of, load_data
    from archdsl.backends.training.judge import judge

    network = load_network(spec, params, input_shape, symbolic=True)
    with running(network.name, "evaluating needs"):
        data = load_data(data_name, *classes_of(network))
        if on_train:
            data = data._replace(test=data.train)
        for note in data.notes:
            say(f"note: {note}")
        found = judge(
            network,
            Path(weights),
            data,
            mean=mean,
            std=deviation,
            crop=crop,
            batch=batch,
            workers=workers,
            processor=processor,
        )
    if found.bad:
        first = next(iter(found.bad))
        say(f"{len(found.bad):,} images could not be read, such as {first}")
    if as_json:
        print_json({**found.as_dict(), "errors": []})
    else:
        sys.stdout.write(found.text(everything=everything))
