"""Images in tar files, as WebDataset writes them.

A sample is two files of the same name: an image, and `.cls` with the number of its
class. The tar files are read once to index their members. After that, images can be
read in any order, so runs on shards resume as exactly as others.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from archdsl.backends.images import open_image

from .data import (
    HELD_OUT_NOTE,
    MAX_CLASSES,
    MAX_FILES,
    SUFFIXES,
    TEST,
    TRAIN,
    Data,
    held_out,
    unusable,
)

SUFFIX: Final = ".tar"
CLASSES: Final = "classes.txt"
# A class is a number of a few digits.
_LABEL_BYTES: Final = 32


class _Sample(NamedTuple):
    """The position of an image: its shard, and its name, offset and size there."""

    shard: int
    name: str
    start: int
    size: int


class Shards:
    """Images in tar files.

    Args:
        paths: the paths of the files.
        samples: the positions of the images.
        labels: their classes.
        mode: Pillow's, ``RGB`` or ``L``.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        samples: Sequence[_Sample],
        labels: Sequence[int],
        mode: str,
    ) -> None:
        self.paths, self.samples, self.labels = paths, samples, labels
        self.mode = mode

    def image(self, index: int) -> Any:
        """Return an image as a Pillow image."""
        sample = self.samples[index]
        with self.paths[sample.shard].open("rb") as file:
            file.seek(sample.start)
            data = file.read(sample.size)
        return open_image(io.BytesIO(data), self.mode)

    def name(self, index: int) -> str:
        """Return the path of the shard and the path within it."""
        sample = self.samples[index]
        return f"{self.paths[sample.shard]}: {sample.name}"

    def part(self, places: Sequence[int]) -> Shards:
        """Return some of the images."""
        samples = [self.samples[place] for place in places]
        labels = [self.labels[place] for place in places]
        return Shards(self.paths, samples, labels, self.mode)


def shards_in(root: Path) -> list[Path]:
    """Return the tar files in a folder and its subfolders, or the file itself.

    Raises:
        OSError: if it cannot be read.
    """
    if root.is_file():
        return [root]
    folders = [root, *(root / part for part in (*TRAIN, *TEST))]
    found = [path for folder in folders for path in folder.glob(f"*{SUFFIX}")]
    return sorted(path for path in found if path.is_file())


def shards(root: Path, paths: Sequence[Path], mode: str = "RGB") -> Data:
    """Return the images of shards.

    Shards with `train` in the name of their file or folder are for training, those with
    `val` or `test` for testing. Without both, a tenth of the images is held out.

    Args:
        root: the path that the user gave.
        paths: the paths of the shards, as `shards_in` lists them.
        mode: Pillow's, ``RGB`` or ``L``.

    Raises:
        SpecError: if a shard cannot be read, or holds something else.
    """
    train = _named(root, paths, TRAIN)
    test = _named(root, paths, TEST)
    notes: tuple[str, ...] = ()
    try:
        if train and test:
            first, second = _read(train, mode), _read(test, mode)
        else:
            whole = _read(paths, mode)
            kept, out = held_out(len(whole.labels))
            first, second = whole.part(kept), whole.part(out)
            notes = (HELD_OUT_NOTE.format(root=root),)
        classes = _classes(root, max((*first.labels, *second.labels)) + 1)
    except (OSError, tarfile.TarError) as error:
        reason = " ".join(str(error).split()).lower()
        raise unusable(f"the shards in {root} cannot be read: {reason}") from None
    folder = root if root.is_dir() else root.parent
    return Data(str(root), first, second, classes, None, notes, folder)


def _named(root: Path, paths: Sequence[Path], words: Sequence[str]) -> list[Path]:
    """Return the shards with a word in their path below the root."""
    base = root if root.is_dir() else root.parent
    names = {path: path.relative_to(base).as_posix().lower() for path in paths}
    return [path for path in paths if any(word in names[path] for word in words)]


def _read(paths: Sequence[Path], mode: str) -> Shards:
    samples: list[_Sample] = []
    labels: list[int] = []
    for number, path in enumerate(paths):
        for sample, label in _samples(number, path):
            samples.append(sample)
            labels.append(label)
            if len(samples) > MAX_FILES:
                message = f"{path.parent} has more than {MAX_FILES:,} images"
                raise unusable(message, code="A0911")
    if not samples:
        raise unusable(
            f"{paths[0]} has no images",
            f"a sample is a file that ends in {', '.join(SUFFIXES)}, with one that "
            "ends in .cls",
        )
    return Shards(paths, samples, labels, mode)


def _samples(number: int, path: Path) -> Iterator[tuple[_Sample, int]]:
    """Yield the images of a shard with their classes.

    Raises:
        SpecError: if an image has no class.
    """
    with tarfile.open(path, "r:") as archive:
        key, image, label = "", None, None
        for member in archive:
            if not member.isfile():
                continue
            name, suffix = _parts(member.name)
            if name != key:
                if image is not None:
                    yield image, _known(path, key, label)
                key, image, label = name, None, None
            if suffix in SUFFIXES:
                place = member.offset_data, member.size
                image = _Sample(number, member.name, *place)
            elif suffix == ".cls" and member.size <= _LABEL_BYTES:
                held = archive.extractfile(member)
                label = None if held is None else held.read()
        if image is not None:
            yield image, _known(path, key, label)


def _parts(name: str) -> tuple[str, str]:
    """Split a file name at its first dot into the sample's name and the suffix."""
    folder, slash, last = name.rpartition("/")
    stem, dot, suffix = last.partition(".")
    return f"{folder}{slash}{stem}", f"{dot}{suffix}".lower()


def _known(path: Path, key: str, label: bytes | None) -> int:
    text = (label or b"").strip()
    if not text.isdigit() or int(text) >= MAX_CLASSES:
        raise unusable(
            f"{path}: `{key}` has no class",
            f"`{key}.cls` must hold a number from 0, below {MAX_CLASSES:,}",
        )
    return int(text)


def _classes(root: Path, number: int) -> tuple[str, ...]:
    """Return the names of the classes, which a file next to the shards may hold."""
    path = (root if root.is_dir() else root.parent) / CLASSES
    if not path.exists():
        return tuple(map(str, range(number)))
    names = tuple(path.read_bytes().decode(errors="replace").splitlines())
    if len(names) < number:
        message = f"{path} names {len(names):,} classes, and the shards have {number:,}"
        raise unusable(message)
    return names
