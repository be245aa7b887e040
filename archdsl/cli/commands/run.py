"""`archdsl run`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from archdsl.cli import completion, status
from archdsl.cli.images import image_options, size_option
from archdsl.cli.options import (
    INPUT_FILE,
    SpecCommand,
    json_option,
    load_network,
    network_options,
)
from archdsl.cli.terminal import Failure, Progress, print_json

if TYPE_CHECKING:
    from archdsl.backends.onnx.run import Guess, ImageModel

_MODEL = ".onnx"


class ImageClassifier(NamedTuple):
    """A classifier of images.

    Attributes:
        scores: returns the scores of an image's classes, as an array.
        classes: the number of classes; not an int if the model does not say it.
        names: the names of the classes, if they are known.
    """

    scores: Callable[[Path], Any]
    classes: int | str
    names: Sequence[str] = ()


class Prediction(NamedTuple):
    """The most likely classes of an image."""

    file: str
    guesses: list[Guess]


@click.command(cls=SpecCommand)
@network_options
@click.argument("model", metavar="MODEL", shell_complete=completion.specs)
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=INPUT_FILE,
    metavar="[WEIGHTS] IMAGE...",
)
@click.option(
    "--labels",
    "labels_file",
    type=INPUT_FILE,
    metavar="FILE",
    help="Names of the classes, one on each line.  [default: those recorded with the "
    "weights, if any]",
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
@click.pass_context
def command(
    ctx: click.Context,
    model: str,
    files: tuple[str, ...],
    params: dict[str, object],
    input_shape: tuple[int, ...] | None,
    labels_file: str | None,
    top: int,
    size: tuple[int, int] | None,
    crop: float,
    mean: tuple[float, ...],
    deviation: tuple[float, ...],
    as_json: bool,
) -> None:
    """Classify images with a network.

    MODEL is a spec, followed by a checkpoint with its WEIGHTS, or an ONNX file such as
    `archdsl export` writes. Images are scaled and cropped to the model's size, and
    normalised as torchvision's networks expect. Weights written by `archdsl train`
    record how images are prepared and what the classes are called.

    \b
    Examples:
      archdsl run digits.arch runs/digits/weights.safetensors seven.png
      archdsl run resnet50 resnet50.pth cat.jpg dog.png --labels imagenet.txt
      archdsl run digits.onnx seven.png --crop 1 --mean 0.1307 --std 0.3081
    """
    from archdsl.backends.images import BadImage
    from archdsl.backends.onnx.images import NoImage
    from archdsl.backends.onnx.run import NoClassifier, read_labels

    try:
        if model.lower().endswith(_MODEL):
            if params or input_shape:
                raise click.UsageError("-D and --input are for specs")
            path = INPUT_FILE.convert(model, None, ctx)
            classifier = _of_model(path, size, crop, mean, deviation)
            images = files
        else:
            if size is not None:
                raise click.UsageError("--size is for ONNX files; give --input")
            if len(files) < 2:
                raise click.UsageError(
                    "a spec must be followed by a file with its weights, and by images"
                )
            default = ctx.get_parameter_source("crop") is ParameterSource.DEFAULT
            classifier = _of_spec(
                *(model, params, input_shape, files[0]),
                *(None if default else crop, mean, deviation),
            )
            images = files[1:]
        names = classifier.names
        if labels_file:
            names = read_labels(Path(labels_file), classifier.classes)
        found = _predict(classifier, images, top)
    except (BadImage, NoImage, NoClassifier) as error:
        raise Failure(str(error), status.USAGE) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        reason = (error.strerror or str(error)).lower()
        raise Failure(f"cannot read {where}{reason}", status.USAGE) from None
    if as_json:
        print_json({"images": [_as_dict(one, names) for one in found], "errors": []})
        return
    for one in found:
        for line in _lines(one, names):
            click.echo(line)


def _of_model(
    path: str,
    size: tuple[int, int] | None,
    crop: float,
    mean: tuple[float, ...],
    deviation: tuple[float, ...],
) -> ImageClassifier:
    """Return the classifier in an ONNX file, run by onnxruntime."""
    from archdsl.backends.onnx.images import Preparation
    from archdsl.backends.onnx.run import ImageModel

    found = ImageModel(Path(path))
    shown = Preparation(_shape(found, path, size), crop, mean, deviation)
    return ImageClassifier(lambda image: found.scores(shown.read(image)), found.classes)


def _of_spec(
    spec: str,
    params: dict[str, object],
    input_shape: tuple[int, ...] | None,
    weights: str,
    crop: float | None,
    mean: tuple[float, ...],
    deviation: tuple[float, ...],
) -> ImageClassifier:
    """Return a network with its weights as a classifier, run by torch."""
    from archdsl.backends.training.judge import Classifier
    from archdsl.cli.training import running

    network = load_network(spec, params, input_shape, symbolic=True)
    with running(network.name, "running it needs"):
        found = Classifier(network, Path(weights), mean, deviation, crop)
    return ImageClassifier(found.scores, found.classes, found.names)


def _shape(
    model: ImageModel, name: str, size: tuple[int, int] | None
) -> tuple[int, int, int]:
    """Return the shape of the model's input."""
    channels, *own = model.shape
    if size is not None and not model.free and list(size) != own:
        raise click.UsageError(f"{name} only takes images of {own[0]}x{own[1]}")
    height, width = size or own
    if min(height, width) < 1:
        raise click.UsageError(f"{name} takes images of any size: give --size")
    return channels, height, width


def _predict(
    classifier: ImageClassifier, images: Sequence[str], top: int
) -> list[Prediction]:
    from archdsl.backends.onnx.run import best_classes

    found = []
    with Progress(len(images)) as progress:
        for file in images:
            progress.step(file)
            found.append(
                Prediction(file, best_classes(classifier.scores(Path(file)), top))
            )
    return found


def _as_dict(prediction: Prediction, names: Sequence[str]) -> dict[str, object]:
    classes = [
        {
            "index": guess.number,
            "label": names[guess.number] if names else None,
            "probability": guess.probability,
        }
        for guess in prediction.guesses
    ]
    return {"file": prediction.file, "classes": classes}


def _lines(prediction: Prediction, names: Sequence[str]) -> list[str]:
    from archdsl.backends.text import align

    rows = []
    for number, probability in prediction.guesses:
        name = [names[number]] if names else []
        rows.append([f"  {number}", *name, f"{100 * probability:.1f} %"])
    return [prediction.file, *align(rows, right=(0, len(rows[0]) - 1))]
