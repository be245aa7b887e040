"""Images with their classes: digits, arrays, folders, and synthetic ones.

Data is untrusted. Arrays are read without pickles, anything over the limits is refused
before it is read, and images that cannot be read are skipped and listed.
"""

from __future__ import annotations

import os
import random
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from archdsl.backends.extras import need
from archdsl.backends.images import open_image
from archdsl.diagnostics import Diagnostic, SpecError
from archdsl.values import Shape, show_shape

if TYPE_CHECKING:
    import numpy as np

# The most bytes that arrays may have after unpacking.
MAX_BYTES: Final = 16 * 2**30
# Far more than any data set in one folder has.
MAX_FILES: Final = 50_000_000
SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff")
# Without separate test images, every tenth image is held out for testing.
HELD_OUT: Final = 10
HELD_OUT_NOTE: Final = (
    "{root} is not split into training and test images: a tenth is held out for testing"
)
MAX_CLASSES: Final = 1_000_000
# Names of the parts.
TRAIN: Final = ("train",)
TEST: Final = ("val", "test", "valid")
_SYNTHETIC: Final = (1024, 256)
_DIGITS_HELD_OUT: Final = 360


class ImageItems(Protocol):
    """A sequence of images, each read when it is requested."""

    labels: Sequence[int]

    def image(self, index: int) -> Any:
        """Return an image: an array of height x width x channels, or a Pillow image.

        Raises:
            BadImage: if it cannot be read.
            FileNotFoundError: if its file no longer exists.
        """

    def name(self, index: int) -> str:
        """Return what a message calls it."""


class Data(NamedTuple):
    """Training and test images.

    Attributes:
        name: the user's name for them.
        train: the training images.
        test: the test images.
        classes: names of the classes.
        shape: channels, height and width of all images, None if they differ.
        notes: remarks for the user.
        root: the folder that they are in, if any.
    """

    name: str
    train: ImageItems
    test: ImageItems
    classes: tuple[str, ...]
    shape: Shape | None
    notes: tuple[str, ...] = ()
    root: Path | None = None

    def about(self) -> dict[str, Any]:
        """Return what must not change when a run is resumed."""
        return {
            "classes": len(self.classes),
            "train": len(self.train.labels),
            "test": len(self.test.labels),
        }


def unusable(message: str, help: str | None = None, code: str = "A1104") -> SpecError:
    """Return the error for data that cannot be used."""
    return SpecError([Diagnostic(code, message, help=help)])


def load_data(name: str, shape: Shape, classes: int) -> Data:
    """Load the data that the user names.

    Args:
        name: ``digits``, ``synthetic``, ``torchvision:`` with a data set and its
            folder, an ``.npz`` file, or a folder: of images, of shards, or that
            `datasets` has saved.
        shape: channels, height and width that the network takes.
        classes: the number that it tells apart.

    Raises:
        MissingExtra: if a library is not installed.
        SpecError: if there is no such data, or it does not fit the network.
    """
    from .saved import MARKS, saved
    from .shards import SUFFIX, shards, shards_in
    from .vision import PREFIX, of_torchvision

    path, mode = Path(name), mode_of(shape)
    if name == "synthetic":
        data = synthetic(shape, classes)
    elif name == "digits":
        data = digits()
    elif name.startswith(PREFIX):
        data = of_torchvision(name, mode)
    elif path.suffix == ".npz":
        data = arrays(path, shape)
    elif path.is_dir() and any((path / mark).exists() for mark in MARKS):
        data = saved(path, mode)
    elif (path.is_dir() or path.suffix == SUFFIX) and (tars := shards_in(path)):
        data = shards(path, tars, mode)
    elif path.is_dir():
        data = folder(path, mode)
    else:
        raise unusable(
            f"there is no data `{name}`",
            "give `digits`, `synthetic`, `torchvision:SET:FOLDER`, an .npz file, or a "
            "folder of images or shards",
        )
    _check(data, shape, classes)
    return data


def mode_of(shape: Shape) -> str:
    """Return Pillow's mode for the number of channels that a network takes."""
    return "L" if shape[0] == 1 else "RGB"


def check_channels(shape: Shape) -> None:
    """Refuse a network that does not take images from files.

    Raises:
        SpecError: if it takes neither 1 nor 3 channels.
    """
    if shape[0] not in (1, 3):
        raise unusable(
            f"images have 1 or 3 channels, but the network takes {show_shape(shape)}",
            code="A1105",
        )


def _check(data: Data, shape: Shape, classes: int) -> None:
    if data.shape is not None and data.shape != shape:
        found, wanted = show_shape(data.shape), show_shape(shape)
        raise unusable(
            f"images of {data.name} are {found}, but the network takes {wanted}",
            f"build it for them: `--input {found}`",
            "A1105",
        )
    if data.shape is None:
        check_channels(shape)
    if len(data.classes) != classes:
        raise unusable(
            f"{data.name} has {len(data.classes):,} classes, and the network has "
            f"{classes:,} outputs",
            f"where it has such a parameter: `-D classes={len(data.classes)}`",
            "A1105",
        )


# ---- arrays


class Arrays:
    """Images in memory.

    Args:
        images: N x height x width x channels, bytes or floats.
        labels: their classes.
        name: the name of the whole.
        part: of the images within it.
    """

    def __init__(self, images: Any, labels: Sequence[int], name: str) -> None:
        self.images = images
        self.labels = labels
        self._name = name

    def image(self, index: int) -> np.ndarray[Any, Any]:
        """Return an image."""
        found: np.ndarray[Any, Any] = self.images[index]
        return found

    def name(self, index: int) -> str:
        """Return what a message calls it."""
        return f"{self._name}, image {index}"


def digits() -> Data:
    """Return scikit-learn's digits: 1,797 images of 8x8 of the ten digits.

    They are shuffled in a fixed order; the first 1,437 are for training, the other 360
    for testing. Source: Alpaydin & Kaynak 1998, "Optical recognition of handwritten
    digits".
    """
    import numpy as np

    sets: Any = need("`digits`", "scikit-learn", "train", "sklearn.datasets")
    held = sets.load_digits()
    # They have 17 levels, 0 to 16.
    images = (held.images * (255 / 16)).round().astype(np.uint8)[..., None]
    labels = [int(label) for label in held.target]
    order = list(range(len(labels)))
    random.Random(0).shuffle(order)
    cut = len(order) - _DIGITS_HELD_OUT
    train, test = (
        Arrays(images[part], [labels[n] for n in part], "digits")
        for part in (order[:cut], order[cut:])
    )
    classes = tuple(str(digit) for digit in range(10))
    return Data("digits", train, test, classes, (1, 8, 8))


def arrays(path: Path, shape: Shape) -> Data:
    """Return the arrays of an ``.npz`` file.

    It holds `images`, N x height x width, optionally with channels first or last, and
    `labels`, whole numbers from 0. `test_images` and `test_labels` are for testing;
    without them, a tenth is held out.

    Raises:
        SpecError: if it cannot be read, is too large or holds something else.
    """
    held = _npz(path)
    for key in ("images", "labels"):
        if key not in held:
            known = ", ".join(f"`{name}`" for name in held) or "nothing"
            raise unusable(f"{path} has no array `{key}`", f"it holds {known}")
    images = _images(path, "images", held["images"], shape)
    labels = _labels(path, "labels", held["labels"], len(images))
    notes: tuple[str, ...] = ()
    if "test_images" in held and "test_labels" in held:
        test_images = _images(path, "test_images", held["test_images"], shape)
        if test_images.shape[1:] != images.shape[1:]:
            raise unusable(f"{path}: `test_images` differ in size from `images`")
        test_labels = _labels(
            path, "test_labels", held["test_labels"], len(test_images)
        )
        train = Arrays(images, labels, path.name)
        test = Arrays(test_images, test_labels, f"{path.name}, test")
    else:
        kept, out = held_out(len(labels))
        train, test = (
            Arrays(images[part], [labels[n] for n in part], path.name)
            for part in (kept, out)
        )
        notes = (f"{path} has no `test_images`: a tenth is held out for testing",)
    top = max(max(train.labels), max(test.labels, default=0))
    classes = tuple(str(number) for number in range(top + 1))
    height, width, channels = images.shape[1:]
    return Data(str(path), train, test, classes, (channels, height, width), notes)


def _npz(path: Path) -> dict[str, Any]:
    import numpy as np

    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(item.file_size for item in archive.infolist())
        if size > MAX_BYTES:
            raise unusable(
                f"{path} holds {size:,} bytes, more than {MAX_BYTES:,}",
                "use a folder of images, which are read one by one",
                "A0911",
            )
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise unusable(f"{path} cannot be read: {reason}") from None
    except (ValueError, zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        reason = " ".join(str(error).split())
        raise unusable(f"{path} is not a file of arrays: {reason}") from None
    except MemoryError:
        raise unusable(
            f"{path} declares an array larger than the file", code="A0911"
        ) from None


def _images(path: Path, key: str, images: Any, shape: Shape) -> Any:
    """Return images as N x height x width x channels."""
    import numpy as np

    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise unusable(f"{path}: `{key}` holds {images.dtype}, not bytes or floats")
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        raise unusable(f"{path}: `{key}` holds numbers that are not finite")
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or not images.size:
        sizes = " x ".join(map(str, images.shape))
        raise unusable(
            f"{path}: `{key}` is {sizes}", "images are N x height x width x channels"
        )
    if images.shape[1:] == shape:
        images = images.transpose(0, 2, 3, 1)
    wide = images if images.dtype == np.uint8 else images.astype(np.float32)
    return np.ascontiguousarray(wide)


def _labels(path: Path, key: str, labels: Any, number: int) -> list[int]:
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise unusable(f"{path}: `{key}` is not a one-dimensional array of integers")
    if len(labels) != number:
        raise unusable(f"{path}: {len(labels):,} labels for {number:,} images")
    if labels.size and not 0 <= labels.min() <= labels.max() < MAX_CLASSES:
        limit = f"fewer than {MAX_CLASSES:,}"
        raise unusable(f"{path}: `{key}` must be classes from 0, {limit}")
    return [int(label) for label in labels]


def held_out(number: int) -> tuple[list[int], list[int]]:
    """Return the indices of training images, and those of held-out test images."""
    order = list(range(number))
    random.Random(0).shuffle(order)
    cut = number - max(number // HELD_OUT, 1)
    return sorted(order[:cut]), sorted(order[cut:])


# ---- synthetic images


class Noise:
    """Random images, the same in every run; the classes alternate."""

    def __init__(self, shape: Shape, classes: int, start: int, number: int) -> None:
        self._shape = shape
        self._start = start
        self.labels: Sequence[int] = [(start + n) % classes for n in range(number)]

    def image(self, index: int) -> np.ndarray[Any, Any]:
        """Return an image."""
        import numpy as np

        channels, height, width = self._shape
        draw = np.random.default_rng(self._start + index)
        return draw.integers(0, 256, (height, width, channels), np.uint8)

    def name(self, index: int) -> str:
        """Return what a message calls it."""
        return f"synthetic image {self._start + index}"


def synthetic(shape: Shape, classes: int) -> Data:
    """Return random images that fit a network, to try a recipe or measure its speed."""
    train, test = _SYNTHETIC
    return Data(
        "synthetic",
        Noise(shape, classes, 0, train),
        Noise(shape, classes, train, test),
        tuple(map(str, range(classes))),
        shape,
        ("the images are random, so a network can only memorise them",),
    )


# ---- folders


class Files:
    """Images in files."""

    def __init__(self, paths: Sequence[str], labels: Sequence[int], mode: str) -> None:
        self.paths = paths
        self.labels = labels
        self.mode = mode

    def image(self, index: int) -> Any:
        """Return an image as a Pillow image."""
        return open_image(Path(self.paths[index]), self.mode)

    def name(self, index: int) -> str:
        """Return its path."""
        return self.paths[index]


def folder(root: Path, mode: str = "RGB") -> Data:
    """Return the images of a folder, with a folder for each class.

    These are in `train` and `val` (or `test`), if there are such folders. Otherwise,
    they are in the folder itself, and a tenth of its images is held out.

    Raises:
        SpecError: if it has no images or fewer than two classes, or cannot be read.
    """
    try:
        inside = {entry.name for entry in os.scandir(root) if entry.is_dir()}
        train = next((name for name in TRAIN if name in inside), None)
        test = next((name for name in TEST if name in inside), None)
        if train is None or test is None:
            return _whole(root, mode)
        classes, paths, labels = _listed(root / train, None)
        _, others, targets = _listed(root / test, classes)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise unusable(f"{root} cannot be read: {reason}") from None
    return Data(
        str(root),
        Files(paths, labels, mode),
        Files(others, targets, mode),
        classes,
        None,
        root=root,
    )


def _whole(root: Path, mode: str) -> Data:
    classes, paths, labels = _listed(root, None)
    kept, out = held_out(len(paths))
    train, test = (
        Files([paths[n] for n in part], [labels[n] for n in part], mode)
        for part in (kept, out)
    )
    note = HELD_OUT_NOTE.format(root=root)
    return Data(str(root), train, test, classes, None, (note,), root)


def _listed(
    root: Path, classes: tuple[str, ...] | None
) -> tuple[tuple[str, ...], list[str], list[int]]:
    """Return classes, paths and labels of a folder that has a folder for each class."""
    found = sorted(
        entry.name
        for entry in os.scandir(root)
        if entry.is_dir() and not entry.name.startswith(".")
    )
    if classes is None:
        if len(found) < 2:
            raise unusable(
                f"{root} has no folders for two or more classes",
                "put the images of each class into a folder of its name",
            )
        classes = tuple(found)
    elif set(found) - set(classes):
        new = min(set(found) - set(classes))
        raise unusable(
            f"{root} has a class `{new}`, which the training images do not have"
        )
    numbers = {name: number for number, name in enumerate(classes)}
    paths: list[str] = []
    labels: list[int] = []
    for name in found:
        files = sorted(
            entry.path
            for entry in os.scandir(root / name)
            if entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith(".")
        )
        paths += files
        labels += [numbers[name]] * len(files)
        if len(paths) > MAX_FILES:
            raise unusable(f"{root} has more than {MAX_FILES:,} images", code="A0911")
    if not paths:
        raise unusable(f"{root} has no images", f"images end in {', '.join(SUFFIXES)}")
    return classes, paths, labels
