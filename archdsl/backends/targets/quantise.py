"""ONNX models in int8, by onnxruntime's static quantisation."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from archdsl.backends.exported import Exported, Int8
from archdsl.backends.extras import need
from archdsl.backends.onnx.graph import Array
from archdsl.backends.onnx.images import (
    SUFFIXES,
    SUFFIXES_SHOWN,
    NoImage,
    Preparation,
)
from archdsl.ir import Network

# With more than a few hundred images, ranges hardly change (Krishnamoorthi 2018,
# section 3.1.1: "about 100 mini-batches"), and each image costs a call of the network.
MOST_IMAGES: Final = 256
# For comparing speed: the calls of each model, and the seconds for all of them.
_ROUNDS: Final = 15
_SECONDS: Final = 4.0


def images_of(folder: Path) -> list[Path]:
    """Return the images in a folder and its subfolders, sorted by name.

    If there are more than `MOST_IMAGES`, it is an evenly spaced selection.

    Raises:
        NoImage: if there are none.
        OSError: if the folder cannot be read.
    """
    for _ in folder.iterdir():  # raises OSError, where `rglob` would be silent
        break
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file()
    )
    if not found:
        raise NoImage(f"{folder} has no images ({SUFFIXES_SHOWN})")
    step = max(1, len(found) / MOST_IMAGES)
    return [found[int(n * step)] for n in range(min(len(found), MOST_IMAGES))]


def quantised(
    made: Exported, network: Network, folder: Path, **preparation: Any
) -> Exported:
    """Return an ONNX model in int8; see `quantise`.

    Args:
        made: the model in float32.
        network: the network; its input gives the size of images.
        folder: the folder with the images.
        **preparation: how images are prepared, as for `Preparation`.

    Raises:
        MissingExtra: if onnxruntime or pillow is not installed.
        NoImage: as `quantise`, or if the folder has no images.
        OSError: if the folder or an image cannot be read.
    """
    shape = network.inputs[0].shape
    if len(network.inputs) > 1 or len(shape) != 3:
        raise NoImage(f"{made.name} does not take a single image")
    channels, height, width = map(int, shape)
    looks = Preparation((channels, height, width), **preparation)
    return quantise(made, images_of(folder), looks)


def quantise(
    made: Exported, images: Sequence[Path], preparation: Preparation
) -> Exported:
    """Return an ONNX model whose convolutions and other products are in int8.

    Weights have one scale per channel. Activations have one scale per tensor, from
    their least and greatest values for some images (Jacob et al. 2018, section 2.1;
    Krishnamoorthi 2018, section 2).

    Args:
        made: the model in float32, of a single image.
        images: image files, such as training images.
        preparation: how images are prepared.

    Raises:
        MissingExtra: if onnxruntime or pillow is not installed.
        NoImage: if a file is not an image, or the model is larger than 2 GiB.
        OSError: if an image cannot be read.
    """
    runtime: Any = need("an int8 model", "onnxruntime", "onnxruntime")
    if made.data:
        raise NoImage(
            f"{made.name} has more than 2 GiB, so it cannot be quantised to int8"
        )
    ((name, shape),) = made.inputs.items()
    batch = shape[0] if isinstance(shape[0], int) else 1
    feeds = _Feeds(name, images, preparation, batch)
    with TemporaryDirectory() as folder:
        source, target = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        source.write_bytes(made.model)
        _quantise(source, target, feeds)
        quantised = target.read_bytes()
    sessions = [_session(runtime, model) for model in (made.model, quantised)]
    change, same = _changes(sessions, feeds)
    seconds = _medians(sessions, next(iter(feeds)))
    about = Int8(
        images=len(images),
        bytes_before=made.size,
        seconds_before=seconds[0],
        seconds=seconds[1],
        largest_change=change,
        same_class=same,
    )
    return replace(made, model=quantised, nodes=_nodes(quantised), int8=about)


class _Feeds:
    """Inputs of a session, one for each image; they can be iterated repeatedly."""

    def __init__(
        self, name: str, images: Sequence[Path], preparation: Preparation, batch: int
    ) -> None:
        self.name = name
        self.images = images
        self.preparation = preparation
        self.batch = batch

    def __iter__(self) -> Iterator[dict[str, Array]]:
        import numpy as np

        for path in self.images:
            image = self.preparation.read(path)
            yield {self.name: np.stack([image] * self.batch)}


def _quantise(source: Path, target: Path, feeds: _Feeds) -> None:
    from onnxruntime import quantization

    waiting = iter(feeds)

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, Array] | None:
            return next(waiting, None)

    root = logging.getLogger()
    level = root.level
    # onnxruntime recommends steps that were already taken, and uses the root logger.
    root.setLevel(logging.ERROR)
    try:
        quantization.quantize_static(
            source,
            target,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            # Processors without int8 instructions add pairs of products in 16 bits,
            # which overflow if weights use all of their 8 bits.
            reduce_range=True,
        )
    finally:
        root.setLevel(level)


def _session(runtime: Any, model: bytes) -> Any:
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _changes(sessions: Sequence[Any], feeds: _Feeds) -> tuple[float, float | None]:
    """Return the largest change of an output, and the share of unchanged classes."""
    import numpy as np

    names = [one.name for one in sessions[0].get_outputs()]
    changes, sizes = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    same, total = 0, 0
    for feed in feeds:
        before, after = (one.run(names, feed) for one in sessions)
        for name, old, new in zip(names, before, after, strict=True):
            changes[name] = max(changes[name], float(np.abs(new - old).max()))
            sizes[name] = max(sizes[name], float(np.abs(old).max()))
        if before[0].ndim == 2:
            same += int(before[0][0].argmax() == after[0][0].argmax())
            total += 1
    change = max(changes[name] / (sizes[name] or 1.0) for name in names)
    return change, same / total if total else None


def _medians(sessions: Sequence[Any], feed: dict[str, Array]) -> list[float]:
    """Return the median time of a call of each session, in seconds; they alternate."""
    times: list[list[float]] = [[] for _ in sessions]
    while len(times[0]) < _ROUNDS and sum(map(sum, times)) < _SECONDS:
        for session, seconds in zip(sessions, times, strict=True):
            start = time.perf_counter()
            session.run(None, feed)
            seconds.append(time.perf_counter() - start)
    return [statistics.median(each) for each in times]


def _nodes(model: bytes) -> int:
    import onnx

    return len(onnx.load_from_string(model).graph.node)
