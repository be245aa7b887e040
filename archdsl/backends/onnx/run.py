"""Running models in onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from archdsl.backends.extras import need
from archdsl.backends.onnx.graph import Array


class NoClassifier(ValueError):
    """A file that is not a model, or a model that does not score the classes of an
    image."""


class Guess(NamedTuple):
    """A class of an image.

    Attributes:
        number: the number of the class.
        probability: from the model's scores.
    """

    number: int
    probability: float


class ImageModel:
    """A model that takes an image and scores classes.

    Attributes:
        shape: channels, height and width of its input; sizes that may be any are those
            of the spec that it was exported from, or 0 if that is not known.
        free: whether its height and width may be any.
        classes: their number.
    """

    def __init__(self, path: Path) -> None:
        """Load a model.

        Raises:
            MissingExtra: if onnxruntime is not installed.
            NoClassifier: if the file is not a model, or the model is of another kind.
            OSError: if the file cannot be read.
        """
        runtime: Any = need("running a model", "onnxruntime", "onnxruntime")
        with path.open("rb"):  # onnxruntime raises no OSError
            pass
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = runtime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its own classes, which derive from nothing common
            reason = str(error).partition("\n")[0]
            raise NoClassifier(f"{path} is not a model: {reason}") from None
        entries, exits = self._session.get_inputs(), self._session.get_outputs()
        if len(entries) != 1 or len(entries[0].shape) != 4:
            raise NoClassifier(f"{path} does not take a single image")
        if len(exits[0].shape) != 2:
            given = " x ".join(str(n) for n in exits[0].shape)
            raise NoClassifier(f"{path} gives {given}, not a score for each class")
        self._entry, self._exit = entries[0].name, exits[0].name
        known = self._session.get_modelmeta().custom_metadata_map
        batch, *shape = entries[0].shape
        self._batch = batch if isinstance(batch, int) else None
        self.free = not all(isinstance(n, int) for n in shape)
        if self.free:
            first = known.get("archdsl.input", "0x0x0").partition(",")[0]
            own = [int(n) for n in first.split("x")]
            shape = [
                n if isinstance(n, int) else m for n, m in zip(shape, own, strict=True)
            ]
        self.shape: tuple[int, int, int] = (shape[0], shape[1], shape[2])
        self.classes = exits[0].shape[1]

    def scores(self, image: Array) -> Array:
        """Return the scores of an image's classes."""
        import numpy as np

        batch = np.stack([image] * (self._batch or 1))
        (found,) = self._session.run([self._exit], {self._entry: batch})
        return found[0]


def best_classes(scores: Array, most: int) -> list[Guess]:
    """Return the classes with the highest scores, best first.

    Scores that are not probabilities are passed through a softmax.

    Raises:
        NoClassifier: if one is not a finite number.
    """
    import numpy as np

    values = np.asarray(scores, np.float64)
    if not np.isfinite(values).all():
        raise NoClassifier("the scores are not all finite: no class can be chosen")
    if values.min() < 0 or abs(values.sum() - 1) > 1e-3:
        values = np.exp(values - values.max())
        values /= values.sum()
    order = np.argsort(-values, kind="stable")[:most]
    return [Guess(int(n), float(values[n])) for n in order]


def read_labels(path: Path, count: int | str) -> Sequence[str]:
    """Return the names of classes, one on each line of a file.

    Raises:
        NoClassifier: if there are not as many as classes, or it is not text.
        OSError: if the file cannot be read.
    """
    try:
        labels = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise NoClassifier(f"{path} is not UTF-8 text") from None
    if isinstance(count, int) and len(labels) != count:
        raise NoClassifier(
            f"{path} has {len(labels):,} lines, and the model {count:,} classes"
        )
    return labels
