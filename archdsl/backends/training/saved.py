"""Images in a data set saved by Hugging Face's `datasets`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from archdsl.backends.extras import need
from archdsl.backends.images import BadImage, open_image

from .data import (
    HELD_OUT_NOTE,
    TEST,
    TRAIN,
    Data,
    held_out,
    unusable,
)

# The files that `save_to_disk` writes for several splits, and for one.
MARKS: Final = ("dataset_dict.json", "dataset_info.json")


class Rows:
    """Images in the rows of a table.

    Args:
        table: the data set, with images not yet decoded.
        column: the column of the images.
        labels: their classes.
        mode: Pillow's, ``RGB`` or ``L``.
        name: the name of the whole.
    """

    def __init__(
        self, table: Any, column: str, labels: Sequence[int], mode: str, name: str
    ) -> None:
        self.table, self.column, self.labels = table, column, labels
        self.mode, self._name = mode, name

    def image(self, index: int) -> Any:
        """Return an image as a Pillow image."""
        held = self.table[index][self.column] or {}
        if held.get("bytes"):
            return open_image(io.BytesIO(held["bytes"]), self.mode)
        if held.get("path"):
            return open_image(Path(held["path"]), self.mode)
        raise BadImage("the row has no image")

    def name(self, index: int) -> str:
        """Return what a message calls it."""
        return f"{self._name}, row {index}"


def saved(root: Path, mode: str = "RGB") -> Data:
    """Return the images of a data set written by `save_to_disk`.

    Raises:
        MissingExtra: if `datasets` is not installed.
        SpecError: if it cannot be read, or has no column of images or of classes.
    """
    library: Any = need("a saved data set", "datasets", "datasets")
    try:
        held = library.load_from_disk(str(root))
    except Exception as error:  # a broken folder may raise anything in its readers
        reason = " ".join(str(error).split())
        raise unusable(f"{root} cannot be read: {reason}") from None
    notes: tuple[str, ...] = ()
    if isinstance(held, dict):
        train = next((held[name] for name in TRAIN if name in held), None)
        test = next(
            (held[name] for name in (*TEST, "validation") if name in held), None
        )
        if train is None or test is None:
            known = ", ".join(f"`{name}`" for name in held) or "none"
            message = f"{root} lacks a split for training or testing"
            raise unusable(message, f"they are `train` and `test`; it has {known}")
    else:
        kept, out = held_out(len(held))
        train, test = held.select(kept), held.select(out)
        notes = (HELD_OUT_NOTE.format(root=root),)
    image, label = _columns(library, root, train)
    classes = tuple(train.features[label].names)
    parts = [
        Rows(
            table.cast_column(image, library.Image(decode=False)),
            image,
            [int(each) for each in table[label]],
            mode,
            f"{root}, {what}",
        )
        for what, table in (("train", train), ("test", test))
    ]
    for part in parts:
        if not part.labels:
            raise unusable(f"{root} has no images")
        if not 0 <= min(part.labels) <= max(part.labels) < len(classes):
            raise unusable(f"{root} has rows without a class")
    return Data(str(root), parts[0], parts[1], classes, None, notes, root)


def _columns(library: Any, root: Path, table: Any) -> tuple[str, str]:
    """Return the names of the columns of images and of classes."""
    found = []
    for kind, words in ((library.Image, "images"), (library.ClassLabel, "classes")):
        names = [name for name, of in table.features.items() if isinstance(of, kind)]
        if len(names) != 1:
            known = ", ".join(
                f"`{name}` of {type(of).__name__}"
                for name, of in table.features.items()
            )
            message = f"{root} has {len(names) or 'no'} columns of {words}, not one"
            raise unusable(message, f"its columns are {known}")
        found += names
    return found[0], found[1]
