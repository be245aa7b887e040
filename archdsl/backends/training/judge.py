"""Evaluating weights on images that they were not trained on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from archdsl.backends import torch as emitting
from archdsl.backends.checkpoints import read_weights
from archdsl.backends.images import BadImage, open_image
from archdsl.backends.text import align
from archdsl.ir import Network

from .data import Data, check_channels, mode_of, unusable
from .loader import Batch, ImageLoader, SampleOrder
from .loop import evaluate_module, processor_of
from .measures import Measures
from .prepare import classes_of, load_weights, scale_of, usual_scale
from .recipe import Images
from .scaling import ImageScale
from .views import Views

if TYPE_CHECKING:
    from torch import Tensor

# torchvision's test crop, 224 of 256 pixels, if the weights do not say theirs.
_USUAL_CROP: Final = 0.875
# Rows of the table of classes that are shown without --classes.
_SHOWN: Final = 20


class Preprocessing(NamedTuple):
    """How images are prepared for a network.

    Attributes:
        scale: the mean and deviation that they are normalised with.
        test_crop: the share of the shorter side that the centre crop keeps.
    """

    scale: ImageScale
    test_crop: float


class Evaluation(NamedTuple):
    """The result of an evaluation.

    Attributes:
        data: the images; those of its `test` were used.
        measures: the measures.
        preprocessing: how the images were prepared.
        bad: images that could not be read, and why.
    """

    data: Data
    measures: Measures
    preprocessing: Preprocessing
    bad: Mapping[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        found = self.measures
        return {
            "data": self.data.name,
            "images": found.images,
            "top1": found.top1,
            "top5": found.top5,
            "loss": found.loss,
            "calibration_error": found.calibration_error,
            "bins": [one._asdict() for one in found.bins],
            "classes": [one._asdict() for one in found.of_classes(self.data.classes)],
            "confusion": found.confusion,
            "mean": list(self.preprocessing.scale.mean),
            "std": list(self.preprocessing.scale.std),
            "crop": self.preprocessing.test_crop,
            "bad_images": len(self.bad),
        }

    def text(self, *, everything: bool) -> str:
        """Return it as text.

        Args:
            everything: whether to show all classes and the confusion matrix.
        """
        found = self.measures
        rows = [
            ("images", f"{found.images:,}"),
            ("top-1", _percent(found.top1)),
            ("top-5", _percent(found.top5)),
            ("loss", f"{found.loss:.4f}"),
            (
                "calibration error",
                f"{_percent(found.calibration_error)}  mean difference between "
                "confidence and accuracy",
            ),
        ]
        parts = [align(rows), self._classes(everything)]
        if everything:
            parts.append(self._confusion())
        return "\n\n".join("\n".join(part) for part in parts) + "\n"

    def _classes(self, everything: bool) -> list[str]:
        names = self.data.classes
        classes = list(enumerate(self.measures.of_classes(names)))
        shown = classes
        if not everything and len(classes) > _SHOWN:
            # The classes with the lowest recall.
            shown = sorted(classes, key=lambda one: _or_one(one[1].recall))[:_SHOWN]
        rows: list[tuple[str, ...]] = [
            ("class", "images", "precision", "recall", "most often confused with")
        ]
        for number, one in shown:
            row = list(self.measures.confusion[number])
            row[number] = 0
            most = max(row)
            other = f"{names[row.index(most)]} ({most:,})" if most else "-"
            rows.append(
                (
                    one.name,
                    f"{one.images:,}",
                    _percent(one.precision),
                    _percent(one.recall),
                    other,
                )
            )
        lines = align(rows, right=(1, 2, 3))
        if len(shown) < len(classes):
            rest = len(classes) - len(shown)
            lines.append(
                f"and {rest:,} more with a higher recall; --classes shows them"
            )
        return lines

    def _confusion(self) -> list[str]:
        names = self.data.classes
        rows = [("class \\ guess", *names)]
        for name, row in zip(names, self.measures.confusion, strict=True):
            rows.append((name, *(str(number) if number else "." for number in row)))
        return align(rows, right=range(1, len(names) + 1))


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f} %"


def _or_one(share: float | None) -> float:
    return 1.0 if share is None else share


def judge(
    network: Network,
    weights: Path,
    data: Data,
    *,
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
    crop: float | None = None,
    batch: int = 64,
    workers: int = 0,
    processor: str = "auto",
) -> Evaluation:
    """Evaluate weights on test images.

    Args:
        network: the network.
        weights: its checkpoint.
        data: the images.
        mean: the mean of each channel; by default, as stored with the weights, or else
            as usual for the data.
        std: the standard deviation of each channel, likewise.
        crop: the share of the shorter side to keep, likewise.
        batch: images per forward pass.
        workers: processes that read images.
        processor: ``cpu``, ``cuda`` or ``auto``.

    Raises:
        MissingExtra: if a library is not installed.
        SpecError: if something does not fit.
    """
    shape, classes = classes_of(network)
    notes = _notes(weights)
    _check_classes(weights, notes, data)

    def usual() -> Preprocessing:
        if data.shape is None:
            return _of_files(shape[0])
        return Preprocessing(scale_of(data, shape[0], Images()), 1.0)

    preprocessing = _preprocessing(notes, usual, shape[0], mean, std, crop)
    device = processor_of(processor)
    module = emitting.build(network)
    load_weights(network, module, weights)
    module.to(device)
    bad: dict[str, str] = {}
    images = Images(test_crop=preprocessing.test_crop)
    loader = ImageLoader(data, shape, images, SampleOrder(batch, 0), workers)

    def placed(batches: Iterator[Batch]) -> Iterator[tuple[Tensor, Tensor]]:
        for one in batches:
            bad.update(one.bad)
            bad.update(dict.fromkeys(one.gone, "the file no longer exists"))
            if len(one.labels):
                images = preprocessing.scale.of(one.images.to(device)).contiguous()
                yield images, one.labels.to(device)

    tally = evaluate_module(module, placed(loader.testing()), classes, confusion=True)
    measures = tally.measures()
    if not measures.images:
        raise unusable(f"{data.name} has no images that can be read")
    return Evaluation(data, measures, preprocessing, bad)


class Classifier:
    """A network with its weights, which scores the classes of images.

    Args:
        network: the network.
        weights: its checkpoint.
        mean: the mean of each channel; by default, as stored with the weights, or else
            as usual.
        std: the standard deviation of each channel, likewise.
        crop: the share of the shorter side to keep, likewise.

    Attributes:
        classes: the number of classes.
        names: the names of the classes, if stored with the weights.

    Raises:
        MissingExtra: if a library is not installed.
        SpecError: if something does not fit.
    """

    def __init__(
        self,
        network: Network,
        weights: Path,
        mean: tuple[float, ...] = (),
        std: tuple[float, ...] = (),
        crop: float | None = None,
    ) -> None:
        shape, self.classes = classes_of(network)
        check_channels(shape)
        notes = _notes(weights)
        named = notes.get("classes")
        known = isinstance(named, list) and len(named) == self.classes
        self.names = tuple(map(_shown, named)) if named and known else ()
        channels = shape[0]
        preprocessing = _preprocessing(
            notes, lambda: _of_files(channels), channels, mean, std, crop
        )
        self._scale, self._mode = preprocessing.scale, mode_of(shape)
        self._views = Views(
            shape, Images(test_crop=preprocessing.test_crop), training=False
        )
        self._module = emitting.build(network)
        load_weights(network, self._module, weights)
        self._module.eval()

    def scores(self, path: Path) -> Any:
        """Return the scores of an image's classes, as an array.

        Raises:
            BadImage: if it cannot be read; the message names it.
            FileNotFoundError: if there is no such file.
        """
        import torch

        try:
            image = open_image(path, self._mode)
        except BadImage as error:
            message = f"{path} is not an image that can be read: {error}"
            raise BadImage(message) from None
        shown = self._views.of(image, Random(0))
        with torch.inference_mode():
            images = self._scale.of(torch.tensor(shown)[None]).contiguous()
            return self._module(images)[0].numpy()


def _shown(name: object) -> str:
    """Return an untrusted file name without control characters."""
    return "".join(one if one.isprintable() else "?" for one in str(name))


def _notes(weights: Path) -> dict[str, Any]:
    """Return the metadata that `archdsl train` stores with weights, if any."""
    read_weights(weights)  # raises if it is not a checkpoint
    if weights.suffix != ".safetensors":
        return {}
    from safetensors import safe_open

    with safe_open(weights, framework="numpy") as file:
        held = file.metadata() or {}
    found = {}
    for key in ("images", "classes"):
        try:
            found[key] = json.loads(held[key])
        except (KeyError, ValueError, RecursionError):
            continue
    return found


def _check_classes(weights: Path, notes: Mapping[str, Any], data: Data) -> None:
    trained = notes.get("classes")
    if isinstance(trained, list) and trained != list(data.classes):
        first = next(
            (
                f"{a} and {b}"
                for a, b in zip(trained, data.classes, strict=False)
                if a != b
            ),
            f"{len(trained)} and {len(data.classes)} of them",
        )
        raise unusable(
            f"{weights} was trained for classes other than those of {data.name}: "
            f"{first}",
            code="A1105",
        )


def _preprocessing(
    notes: Mapping[str, Any],
    usual: Callable[[], Preprocessing],
    channels: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    crop: float | None,
) -> Preprocessing:
    """Return how to prepare images: by options, else by metadata, else as usual."""
    found = _noted(notes.get("images")) or usual()
    scale = ImageScale(mean or found.scale.mean, std or found.scale.std)
    _check_scale(scale, channels)
    return Preprocessing(scale, found.test_crop if crop is None else crop)


def _of_files(channels: int) -> Preprocessing:
    return Preprocessing(usual_scale(channels), _USUAL_CROP)


def _noted(notes: Any) -> Preprocessing | None:
    """Return what the metadata of weights says; None if it is missing or invalid."""
    try:
        mean, std = (tuple(map(float, notes[key])) for key in ("mean", "std"))
        crop = float(notes["test_crop"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    sound = all(map(math.isfinite, (*mean, *std, crop))) and 0 < crop <= 1
    return (
        Preprocessing(ImageScale(mean, std), crop)
        if sound and all(s > 0 for s in std)
        else None
    )


def _check_scale(scale: ImageScale, channels: int) -> None:
    for name, given in scale._asdict().items():
        if len(given) != channels:
            raise unusable(
                f"the {name} has {len(given)} numbers, and the network takes "
                f"{channels} channels",
                code="A1105",
            )
