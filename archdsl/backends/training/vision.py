"""Data sets of torchvision, from files that it has downloaded.

Nothing is downloaded here. For CIFAR and SVHN, torchvision reads pickles and MATLAB
files, but only if their checksums are right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from archdsl.backends.extras import need_working
from archdsl.backends.images import decoded_image
from archdsl.diagnostics import did_you_mean

from .data import (
    HELD_OUT_NOTE,
    Arrays,
    Data,
    held_out,
    unusable,
)

PREFIX: Final = "torchvision:"


class _Set(NamedTuple):
    """How to request a data set.

    Attributes:
        parts: the arguments for training and for test images, or for all images.
        axes: the axes of its array of images, in our order; empty if it reads images
            one by one.
    """

    parts: tuple[Mapping[str, Any], ...]
    axes: tuple[int, ...] = ()


def _split(train: str, test: str) -> _Set:
    return _Set(({"split": train}, {"split": test}))


_PARTS: Final = ("train", "test")
_FLAT: Final = _Set(({"train": True}, {"train": False}), (0, 1, 2))
_CIFAR: Final = _FLAT._replace(axes=(0, 1, 2, 3))
_SPLIT: Final = _split(*_PARTS)
_PLANES: Final = _SPLIT._replace(axes=(0, 2, 3, 1))
_MOST: Final = _split("trainval", "test")
_WHOLE: Final = _Set(({},))
# The data sets whose items are an image and its class.
_SETS: Final[Mapping[str, _Set]] = {
    "CIFAR10": _CIFAR,
    "CIFAR100": _CIFAR,
    "Caltech101": _WHOLE,
    "Caltech256": _WHOLE,
    "Country211": _SPLIT,
    "DTD": _SPLIT,
    "EuroSAT": _WHOLE,
    "FGVCAircraft": _MOST,
    "FashionMNIST": _FLAT,
    "Flowers102": _SPLIT,
    "Food101": _SPLIT,
    "GTSRB": _SPLIT,
    "Imagenette": _split("train", "val"),
    "KMNIST": _FLAT,
    "MNIST": _FLAT,
    "OxfordIIITPet": _MOST,
    "RenderedSST2": _SPLIT,
    "STL10": _PLANES,
    "SUN397": _WHOLE,
    "SVHN": _PLANES,
}


class Pictures:
    """Images of a data set that reads each when it is requested.

    Args:
        held: the data set.
        places: the indices of its images.
        labels: their classes.
        mode: Pillow's, ``RGB`` or ``L``.
        name: the name of the whole.
    """

    def __init__(
        self,
        held: Any,
        places: Sequence[int],
        labels: Sequence[int],
        mode: str,
        name: str,
    ) -> None:
        self.held, self.places, self.labels = held, places, labels
        self.mode, self._name = mode, name

    def image(self, index: int) -> Any:
        """Return an image as a Pillow image."""
        return decoded_image(
            lambda: self.held[self.places[index]][0].convert(self.mode)
        )

    def name(self, index: int) -> str:
        """Return what a message calls it."""
        return f"{self._name}, image {self.places[index]}"


def library(what: str, module: str) -> Any:
    """Return a module of torchvision.

    Args:
        what: what needs it, for the message.
        module: its name below ``torchvision``.

    Raises:
        MissingExtra: if it cannot be imported.
    """
    return need_working(
        what,
        "a torchvision that matches the installed torch",
        "train",
        f"torchvision.{module}",
        " torchvision",
    )


def of_torchvision(name: str, mode: str) -> Data:
    """Return a data set of torchvision.

    Args:
        name: ``torchvision:CLASS:FOLDER``.
        mode: Pillow's, ``RGB`` or ``L``.

    Raises:
        MissingExtra: if torchvision cannot be imported.
        SpecError: if there is no such data set, or it is not in the folder.
    """
    kind, _, root = name.removeprefix(PREFIX).partition(":")
    if kind not in _SETS or not root:
        known = did_you_mean(kind, _SETS) or f"known are {', '.join(_SETS)}"
        help = known if kind not in _SETS else f"write `{PREFIX}{kind}:FOLDER`"
        raise unusable(f"`{name}` names no data set of torchvision in a folder", help)
    make = getattr(library(f"`{PREFIX}{kind}`", "datasets"), kind)
    how = _SETS[kind]
    held = [_held(make, root, part) for part in how.parts]
    labels = [_labels(each) for each in held]
    classes = _classes(kind, held[0], labels)
    if how.axes:
        train, test = (
            Arrays(_array(each, how.axes), own, f"{kind}, {part}")
            for each, own, part in zip(held, labels, _PARTS, strict=True)
        )
        height, width, channels = train.images.shape[1:]
        return Data(kind, train, test, classes, (channels, height, width))
    places: Sequence[Sequence[int]] = [range(len(each)) for each in labels]
    notes: tuple[str, ...] = ()
    if len(held) == 1:
        held, labels, places = held * 2, labels * 2, held_out(len(labels[0]))
        notes = (HELD_OUT_NOTE.format(root=kind),)
    pictures = [
        Pictures(one, part, [own[n] for n in part], mode, f"{kind}, {what}")
        for one, part, own, what in zip(held, places, labels, _PARTS, strict=True)
    ]
    return Data(kind, pictures[0], pictures[1], classes, None, notes, Path(root))


def _held(make: Any, root: str, part: Mapping[str, Any]) -> Any:
    """Return a part of a data set, as an object of torchvision's class.

    Raises:
        SpecError: if it is not in the folder, or cannot be read.
    """
    try:
        return make(root, **part)
    except Exception as error:  # readers raise all sorts of errors for a damaged file
        kind = make.__name__
        reason = " ".join(str(error).split()) or type(error).__name__
        if "not found" not in reason.lower():
            raise unusable(f"{kind} in {root} cannot be read: {reason}") from None
        raise unusable(
            f"{kind} is not in {root}, or not in the form that torchvision downloads",
            f"`torchvision.datasets.{kind}({root!r}, download=True)` downloads it",
        ) from None


def _labels(held: Any) -> list[int]:
    for name in ("targets", "labels", "_labels", "y"):
        if hasattr(held, name):
            return [int(label) for label in getattr(held, name)]
    return [int(label) for _, label in held._samples]


def _classes(kind: str, held: Any, labels: Sequence[Sequence[int]]) -> tuple[str, ...]:
    """Return the names of the classes, or their numbers if they have none.

    Raises:
        SpecError: if there are no images, or some without a class.
    """
    if not all(labels):
        raise unusable(f"{kind} has no images")
    top = max(map(max, labels)) + 1
    found: Any = getattr(held, "classes", None)
    found = found or getattr(held, "categories", range(top))
    names = tuple(one[0] if isinstance(one, tuple) else str(one) for one in found)
    if top > len(names) or min(map(min, labels)) < 0:
        raise unusable(f"{kind} has images without a class")
    return names


def _array(held: Any, axes: Sequence[int]) -> Any:
    """Return all images of a data set as N x height x width x channels."""
    import numpy as np

    images = np.asarray(held.data).transpose(axes)
    return np.ascontiguousarray(images[..., None] if images.ndim == 3 else images)
