"""Images as a network's input, prepared as torchvision does for its own networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from archdsl.backends.images import BadImage, open_image
from archdsl.backends.onnx.graph import Array

# Mean and deviation of the channels of ImageNet, of values from 0 to 1.
_MEAN: Final = (0.485, 0.456, 0.406)
_DEVIATION: Final = (0.229, 0.224, 0.225)
# Pillow's number for bilinear resampling.
_BILINEAR: Final = 2
SUFFIXES: Final = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff")
SUFFIXES_SHOWN: Final = ", ".join(SUFFIXES)


class NoImage(ValueError):
    """A file that is not an image, or a folder without images."""


@dataclass(frozen=True)
class Preparation:
    """How an image is turned into an input.

    Attributes:
        shape: channels, height and width of the input.
        crop: side of the centre crop, as a share of the largest crop with the
            proportions of the input.
        mean: subtracted from each channel, whose values are from 0 to 1. If empty, it
            is ImageNet's for three channels, otherwise 0.
        deviation: each channel is then divided by it. If empty, it is ImageNet's for
            three channels, otherwise 1.
    """

    shape: tuple[int, int, int]
    crop: float = 0.875
    mean: Sequence[float] = ()
    deviation: Sequence[float] = ()

    def __post_init__(self) -> None:
        channels = self.shape[0]
        if channels not in (1, 3):
            raise NoImage(f"an image has 1 or 3 channels, but the input has {channels}")
        for name, given in (("mean", self.mean), ("deviation", self.deviation)):
            if given and len(given) != channels:
                raise NoImage(
                    f"{len(given)} numbers are given as the {name}, but the input has "
                    f"{channels} channels"
                )

    def read(self, path: Path) -> Array:
        """Return an image as float32 of the input's shape.

        Raises:
            MissingExtra: if pillow is not installed.
            NoImage: if the file is not an image.
            OSError: if it cannot be read.
        """
        import numpy as np

        channels, height, width = self.shape
        mode = "RGB" if channels == 3 else "L"
        try:
            image = open_image(path, mode, "onnxruntime")
        except BadImage as error:
            message = f"{path} is not an image that can be read: {error}"
            raise NoImage(message) from None
        # The largest centre crop with the input's proportions, times the share to keep.
        scale = min(image.width / width, image.height / height) * self.crop
        across, down = scale * width, scale * height
        left, top = (image.width - across) / 2, (image.height - down) / 2
        image = image.resize(
            (width, height),
            resample=_BILINEAR,
            box=(left, top, left + across, top + down),
        )
        values = np.asarray(image, np.float32).reshape(height, width, channels) / 255
        mean = self.mean or (_MEAN if channels == 3 else (0.0,))
        deviation = self.deviation or (_DEVIATION if channels == 3 else (1.0,))
        values = (values - np.array(mean)) / np.array(deviation)
        return np.ascontiguousarray(values.transpose(2, 0, 1), np.float32)
