"""Augmentation: random crops, scaling, mirroring and changes of colour.

Random numbers for an image only depend on the seed, the epoch and the image. So the
order of images, the number of processes and resuming do not matter.
"""

from __future__ import annotations

import math
from random import Random
from typing import Any, Final

from archdsl.backends.extras import need
from archdsl.values import Shape

from .data import Data, unusable
from .recipe import Images
from .vision import library

# Principal components of ImageNet's colours, in 0 to 1: the roots of their variances,
# and directions for red, green and blue. Krizhevsky et al. 2012, section 4.1, with the
# figures of its re-implementations (fb.resnet.torch).
_ROOTS: Final = (0.2175, 0.0188, 0.0045)
_DIRECTIONS: Final = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)
_PROPORTIONS: Final = (3 / 4, 4 / 3)
# Area share and aspect ratio of an erased rectangle (Zhong et al. 2020, section 5.1).
_ERASED: Final = (0.02, 0.33)
_ERASED_PROPORTIONS: Final = (0.3, 3.3)
_TRIES: Final = 10


def check_views(data: Data, shape: Shape, images: Images) -> None:
    """Refuse augmentations that these images do not allow.

    Raises:
        MissingExtra: if torchvision is needed, and cannot be imported.
        SpecError: if the images have the wrong type or number of channels.
    """
    if images.policy != "none":
        _policy(images.policy)
    if images.lighting and shape[0] != 3:
        raise unusable(
            "`images.lighting` needs red, green and blue, but the network takes "
            f"{shape[0]} channels",
            "set it to 0: `--set images.lighting=0`",
            "A1105",
        )
    if images.mean is not None and len(images.mean) != shape[0]:
        raise unusable(
            f"`images.mean` has {len(images.mean)} numbers, and the network takes "
            f"{shape[0]} channels",
            code="A1105",
        )
    if data.shape is None:
        return
    height, width = shape[1:]
    if images.pad and images.pad > 4 * max(height, width):
        raise unusable(f"`images.pad` is too large for {width}x{height}", code="A1105")
    first = data.train.image(0)
    if str(first.dtype) == "uint8" and first.shape[2] in (1, 3):
        return
    for name in ("crop", "resized_crop", "colour", "policy", "lighting"):
        if getattr(images, name) not in (None, 0.0, "none"):
            raise unusable(
                f"`images.{name}` needs images of bytes with 1 or 3 channels, and "
                f"{data.name} has {first.dtype} with {first.shape[2]}",
                code="A1105",
            )


class Views:
    """Turns images into arrays of the network's input size.

    Args:
        shape: channels, height and width that the network takes.
        images: how they are augmented.
        training: whether they are for training; for testing, the centre is cropped.
    """

    def __init__(self, shape: Shape, images: Images, training: bool) -> None:
        self.channels, self.height, self.width = shape
        self.images = images
        self.training = training
        policy = images.policy if training else "none"
        self._policy = None if policy == "none" else _policy(policy)

    def of(self, image: Any, draw: Random) -> Any:
        """Return an image as an array of height x width x channels.

        Args:
            image: an array or a Pillow image.
            draw: the source of random numbers.
        """
        import numpy as np

        how = self.images
        if not isinstance(image, np.ndarray) or self._needs_pillow(image):
            image = self._pillow(image, draw)
        if not self.training:
            return np.ascontiguousarray(image)
        if how.pad:
            image = self._shifted(image, draw)
        if how.flip and draw.random() < 0.5:
            image = image[:, ::-1]
        if how.lighting:
            image = _lit(image, how.lighting, draw)
        if how.erase and draw.random() < how.erase:
            image = _erased(image, draw)
        return np.ascontiguousarray(image)

    def _needs_pillow(self, image: Any) -> bool:
        how = self.images
        size = image.shape[:2] != (self.height, self.width)
        if not self.training:
            cut = how.test_crop != 1.0 and image.dtype.kind == "u"
            return size or (cut and image.shape[2] in (1, 3))
        changed = how.crop or how.resized_crop or how.colour or self._policy
        return bool(size or changed)

    def _pillow(self, image: Any, draw: Random) -> Any:
        """Crop, scale and colour an image by Pillow, and return it as an array."""
        import numpy as np

        pillow: Any = need("augmentation", "Pillow", "train", "PIL.Image")
        if isinstance(image, np.ndarray):
            image = pillow.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        image = image.resize(
            (self.width, self.height),
            resample=pillow.Resampling.BILINEAR,
            box=self._box(image.width, image.height, draw),
        )
        if self.training:
            image = self._coloured(image, draw)
        array = np.asarray(image)
        return array.reshape(self.height, self.width, -1)

    def _box(
        self, width: int, height: int, draw: Random
    ) -> tuple[float, float, float, float]:
        """Return the crop: left, top, right and bottom."""
        how = self.images
        if self.training and how.resized_crop:
            across, down = _resized(width, height, how.resized_crop, draw)
        else:
            share = how.test_crop
            if self.training:
                share = draw.uniform(*how.crop) if how.crop else 1.0
            scale = min(width / self.width, height / self.height) * share
            across, down = scale * self.width, scale * self.height
        if self.training and (how.crop or how.resized_crop):
            x, y = draw.random(), draw.random()
        else:
            x = y = 0.5
        left, top = x * (width - across), y * (height - down)
        # Rounding may exceed the image by a tiny amount, which Pillow refuses.
        right, bottom = min(left + across, width), min(top + down, height)
        return max(left, 0.0), max(top, 0.0), right, bottom

    def _coloured(self, image: Any, draw: Random) -> Any:
        how = self.images
        if how.colour:
            enhance: Any = need("colours", "Pillow", "train", "PIL.ImageEnhance")
            kinds = ["Brightness", "Contrast"]
            kinds += ["Color"] if image.mode == "RGB" else []
            draw.shuffle(kinds)
            for kind in kinds:
                factor = draw.uniform(1 - how.colour, 1 + how.colour)
                image = getattr(enhance, kind)(image).enhance(factor)
        if self._policy is not None:
            import torch

            # torchvision draws from torch's global generator, whose state must not
            # change.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(draw.getrandbits(63))
                image = self._policy(image)
        return image

    def _shifted(self, image: Any, draw: Random) -> Any:
        """Pad an image with zeros, and return a random crop of the original size."""
        import numpy as np

        pad = self.images.pad
        x, y = draw.randint(-pad, pad), draw.randint(-pad, pad)
        shifted = np.zeros_like(image)
        height, width = image.shape[:2]
        if abs(x) < width and abs(y) < height:
            inner = image[max(y, 0) : height + y, max(x, 0) : width + x]
            top, left = max(-y, 0), max(-x, 0)
            shifted[top : top + len(inner), left : left + inner.shape[1]] = inner
        return shifted


def _resized(
    width: int, height: int, shares: tuple[float, float], draw: Random
) -> tuple[float, float]:
    """Return width and height of a crop with a random area and aspect ratio."""
    logs = [math.log(bound) for bound in _PROPORTIONS]
    for _ in range(_TRIES):
        area = width * height * draw.uniform(*shares)
        proportions = math.exp(draw.uniform(*logs))
        across = math.sqrt(area * proportions)
        down = math.sqrt(area / proportions)
        if across <= width and down <= height:
            return across, down
    # None fitted: the largest crop with an allowed aspect ratio.
    least, most = _PROPORTIONS
    proportions = min(max(width / height, least), most)
    return min(width, height * proportions), min(height, width / proportions)


def _lit(image: Any, deviation: float, draw: Random) -> Any:
    import numpy as np

    amounts = [draw.gauss(0, deviation) * root for root in _ROOTS]
    shift = 255 * np.array(_DIRECTIONS) @ np.array(amounts)
    return np.clip(np.rint(image + shift), 0, 255).astype(np.uint8)


def _erased(image: Any, draw: Random) -> Any:
    """Fill a random rectangle of an image with its mean colour."""
    height, width = image.shape[:2]
    logs = [math.log(bound) for bound in _ERASED_PROPORTIONS]
    for _ in range(_TRIES):
        area = width * height * draw.uniform(*_ERASED)
        proportions = math.exp(draw.uniform(*logs))
        across = round(math.sqrt(area * proportions))
        down = round(math.sqrt(area / proportions))
        if 0 < across < width and 0 < down < height:
            top, left = draw.randrange(height - down), draw.randrange(width - across)
            image = image.copy()
            mean = image.mean(axis=(0, 1)).astype(image.dtype)
            image[top : top + down, left : left + across] = mean
            break
    return image


def _policy(name: str) -> Any:
    """Return torchvision's augmentation policy with a name."""
    v2 = library(f'`images.policy = "{name}"`', "transforms.v2")
    return v2.TrivialAugmentWide() if name == "trivial" else v2.RandAugment()
