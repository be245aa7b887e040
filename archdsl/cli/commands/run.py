"""`archdsl run`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from archdsl.cli import status
from archdsl.cli.images import image_options, size_option
from archdsl.cli.options import INPUT_FILE, json_option
from archdsl.cli.terminal import Failure, Progress, print_json

if TYPE_CHECKING:
    from archdsl.backends.onnx.images import Preparation
    from archdsl.backends.onnx.run import Guess, Model


class Seen(NamedTuple):
    """What a model says of an image."""

    file: str
    guesses: list[Guess]


@click.command()
@click.argument("model", type=INPUT_FILE, metavar="MODEL")
@click.argument("images", nargs=-1, required=True, type=INPUT_FILE, metavar="IMAGE...")
@click.option(
    "--labels",
    "labels_file",
    type=INPUT_FILE,
    metavar="FILE",
    help="Names of the classes, one on each line.",
)
@click.option(
    "--top",
    type=click.IntRange(1, 1_000),
    default=5,
    show_default=True,
    metavar="N",
    help="Number of classes to show.",
)
@size_option
@image_options
@json_option
def command(
    model: str,
    images: tuple[str, ...],
    labels_file: str | None,
    top: int,
    size: tuple[int, int] | None,
    crop: float,
    mean: tuple[float, ...],
    deviation: tuple[float, ...],
    as_json: bool,
) -> None:
    """Show which classes an exported model sees in images.

    MODEL is an ONNX file of a network that scores classes, such as `archdsl export`
    writes. Images are scaled and cropped to its size, and normalised as torchvision's
    networks expect.

    \b
    Examples:
      archdsl run resnet50.onnx cat.jpg dog.png --labels imagenet.txt
      archdsl run digits.onnx seven.png --crop 1 --mean 0.1307 --std 0.3081
    """
    from archdsl.backends.onnx.images import NoImage, Preparation
    from archdsl.backends.onnx.run import Model, NoClassifier, read_labels

    try:
        found = Model(Path(model))
        shape = _shape(found, model, size)
        labels = read_labels(Path(labels_file), found.classes) if labels_file else ()
        seen = _look(found, images, Preparation(shape, crop, mean, deviation), top)
    except (NoImage, NoClassifier) as error:
        raise Failure(str(error), status.USAGE) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        reason = (error.strerror or str(error)).lower()
        raise Failure(f"cannot read {where}{reason}", status.USAGE) from None
    if as_json:
        print_json({"images": [_as_dict(one, labels) for one in seen], "errors": []})
        return
    for one in seen:
        for line in _lines(one, labels):
            click.echo(line)


def _shape(
    model: Model, name: str, size: tuple[int, int] | None
) -> tuple[int, int, int]:
    """Return the shape of the model's input."""
    channels, *own = model.shape
    if size is not None and not model.free and list(size) != own:
        raise click.UsageError(f"{name} only takes images of {own[0]}x{own[1]}")
    height, width = size or own
    if min(height, width) < 1:
        raise click.UsageError(f"{name} takes images of any size: give --size")
    return channels, height, width


def _look(
    model: Model, images: Sequence[str], preparation: Preparation, top: int
) -> list[Seen]:
    from archdsl.backends.onnx.run import best

    seen = []
    with Progress(len(images)) as progress:
        for file in images:
            progress.step(file)
            scores = model.scores(preparation.read(Path(file)))
            seen.append(Seen(file, best(scores, top)))
    return seen


def _as_dict(seen: Seen, labels: Sequence[str]) -> dict[str, object]:
    classes = [
        {
            "index": guess.number,
            "label": labels[guess.number] if labels else None,
            "probability": guess.probability,
        }
        for guess in seen.guesses
    ]
    return {"file": seen.file, "classes": classes}


def _lines(seen: Seen, labels: Sequence[str]) -> list[str]:
    from archdsl.backends.text import align

    rows = []
    for number, probability in seen.guesses:
        name = [labels[number]] if labels else []
        rows.append([f"  {number}", *name, f"{100 * probability:.1f} %"])
    return [seen.file, *align(rows, right=(0, len(rows[0]) - 1))]
