"""The folder of a run: its description, metrics and weights."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from archdsl import files
from archdsl.backends.extras import need
from archdsl.backends.spec import Unwritable, write_spec
from archdsl.ir import Network
from archdsl.limits import MAX_FILE_BYTES

from .data import Data, unusable
from .recipe import Recipe
from .scaling import ImageScale

if TYPE_CHECKING:
    from torch import nn

ABOUT: Final = "run.json"
METRICS: Final = "metrics.csv"
WEIGHTS: Final = "weights.safetensors"
MODEL: Final = "model.py"
SPEC: Final = "spec.arch"
BAD: Final = "bad_images.txt"
# The columns of metrics.csv.
COLUMNS: Final = (
    *("epoch", "step", "lr", "train_loss", "train_top1"),
    *("test_loss", "test_top1", "test_top5"),
    *("seconds", "images_per_second", "peak_bytes"),
)
_PERHAPS: Final = ("train_top1", "images_per_second", "peak_bytes")
_WHOLE: Final = ("epoch", "step", "peak_bytes")
# Names, in messages, of the things that determine the result of a run.
_PARTS: Final = {
    "digest": "the network",
    "recipe": "the recipe",
    "data": "the data",
    "seed": "the seed",
    "start": "the initial weights, or the frozen layers",
}


class Run(NamedTuple):
    """The description of a run.

    Attributes:
        network: name of the network.
        spec: a self-contained spec of the network.
        digest: the digest of the module's text, to recognise the same module.
        recipe: the recipe's values.
        data: the number of images and classes.
        seed: the seed of everything random.
        start: the initial weights, and the paths of frozen ones.
        classes: names of the classes.
        scale: the mean and deviation that images are normalised with.
    """

    network: str
    spec: str
    digest: str
    recipe: dict[str, Any]
    data: dict[str, Any]
    seed: int
    start: dict[str, Any]
    classes: tuple[str, ...]
    scale: ImageScale

    def as_dict(self) -> dict[str, Any]:
        """Return the description as plain data, without the spec."""
        held = {**self._asdict(), "scale": self.scale._asdict()}
        del held["spec"]
        return held


def run_info(
    network: Network,
    text: str,
    recipe: Recipe,
    data: Data,
    scale: ImageScale,
    seed: int,
    start: Mapping[str, Any],
) -> Run:
    """Return the description of a run.

    Args:
        network: the network.
        text: the source of its module.
        recipe: how it is trained.
        data: the images.
        scale: how they are normalised.
        seed: the seed of everything random.
        start: the initial weights, and the paths of frozen ones.
    """
    return Run(
        network.name,
        _spec(network),
        module_digest(text),
        recipe.model_dump(mode="json", exclude={"about", "source"}),
        data.about(),
        seed,
        dict(start),
        data.classes,
        scale,
    )


def _spec(network: Network) -> str:
    try:
        return write_spec(network)
    except Unwritable:  # made in code, and no spec can describe it
        return network.root.span.source.text


def module_digest(text: str) -> str:
    """Return a digest of a module's text, which identifies the network."""
    return hashlib.sha256(text.encode()).hexdigest()


def write_run(run: Path, what: Run, text: str) -> None:
    """Write the description of a run.

    Args:
        run: its folder.
        what: its description.
        text: the source of the module.

    Raises:
        OSError: if it cannot be written.
    """
    run.mkdir(parents=True, exist_ok=True)
    files.write(run / SPEC, what.spec.encode())
    files.write(run / MODEL, text.encode())
    shown = json.dumps(what.as_dict(), indent=2, ensure_ascii=False)
    files.write(run / ABOUT, f"{shown}\n".encode())


def check_same(run: Path, what: Run) -> None:
    """Refuse to resume a run with another description.

    Raises:
        SpecError: naming the first part that differs.
    """
    try:
        held = json.loads((run / ABOUT).read_bytes())
        pairs = [(name, held[name]) for name in _PARTS]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise unusable(f"{run / ABOUT} cannot be read", code="A1107") from None
    new = json.loads(json.dumps(what.as_dict()))
    for name, old in pairs:
        if old == new[name]:
            continue
        key, before, now = _difference("", old, new[name])
        detail = f" (`{key}` was {before} and is {now})" if key else ""
        raise unusable(
            f"{_PARTS[name]} of the run in {run} differs{detail}",
            "use the same command, or write to another folder",
            "A1107",
        )


def _difference(path: str, old: Any, new: Any) -> tuple[str, Any, Any]:
    """Return the path of the first value that differs, and both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            if old.get(key) != new.get(key):
                inner = f"{path}.{key}" if path else key
                return _difference(inner, old.get(key), new.get(key))
    return path, old, new


def write_metrics(run: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Write the metrics of all epochs so far.

    Raises:
        OSError: if they cannot be written.
    """
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(history)
    files.write(run / METRICS, text.getvalue().encode())


def is_early(run: Path) -> bool:
    """Return whether a run has started but not finished an epoch."""
    return (run / ABOUT).exists() and not (run / METRICS).exists()


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Return the metrics of all epochs so far, as `write_metrics` received them.

    Raises:
        SpecError: if the folder holds none, or something else.
    """
    path = run / METRICS
    if is_early(run):
        return []
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ValueError
        table = csv.DictReader(io.StringIO(path.read_bytes().decode()))
        rows = list(table)
        if (*(table.fieldnames or ()),) != COLUMNS:
            raise ValueError
        return [{key: _number(key, row[key]) for key in COLUMNS} for row in rows]
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        help = "give folders that `archdsl train` has written"
        raise unusable(f"{path} cannot be read: {reason}", help, "A1107") from None
    except (ValueError, TypeError, csv.Error):
        raise unusable(f"{path} holds no metrics of a run", code="A1107") from None


def _number(key: str, text: str) -> int | float | None:
    if not text and key in _PERHAPS:
        return None
    number = int(text) if key in _WHOLE else float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def write_bad(run: Path, bad: Mapping[str, str]) -> None:
    """Write the names of images that could not be read.

    Raises:
        OSError: if they cannot be written.
    """
    text = "".join(f"{name}: {why}\n" for name, why in sorted(bad.items()))
    files.write(run / BAD, text.encode(errors="backslashreplace"))


def write_weights(
    run: Path, module: nn.Module, what: Run, last: Mapping[str, Any]
) -> Path:
    """Write the weights, with the metadata needed to use them.

    Raises:
        MissingExtra: if safetensors is not installed.
        OSError: if they cannot be written.
    """
    torchs: Any = need("weights", "safetensors", "weights", "safetensors.torch")
    notes = {
        "format": "pt",
        "network": what.network,
        "spec": what.spec,
        "digest": what.digest,
        "images": json.dumps(
            {**what.scale._asdict(), "test_crop": what.recipe["images"]["test_crop"]}
        ),
        "classes": json.dumps(what.classes),
        "metrics": json.dumps({key: last[key] for key in COLUMNS if "test" in key}),
    }
    # Tensors of shared layers are written once for each of their names.
    tensors = {
        key: one.contiguous().clone() for key, one in module.state_dict().items()
    }
    path = run / WEIGHTS
    files.write(path, torchs.save(tensors, metadata=notes))
    return path
