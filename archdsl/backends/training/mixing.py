"""Mixup and CutMix: two images in one, with a loss for both classes."""

from __future__ import annotations

import math
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from .recipe import Images

if TYPE_CHECKING:
    from torch import Tensor


class Mixed(NamedTuple):
    """Images, each mixed with a second one.

    Attributes:
        images: N x channels x height x width.
        labels: classes of the first ones.
        others: classes of the second ones.
        share: the share of the first image in each.
    """

    images: Tensor
    labels: Tensor
    others: Tensor
    share: float


def mixes(how: Images) -> bool:
    """Return whether a recipe mixes images."""
    return bool(how.mixup or how.cutmix)


def mix_images(images: Tensor, labels: Tensor, how: Images, draw: Random) -> Mixed:
    """Return a batch with each image mixed with the one before it.

    Sources: mixup, Zhang et al. 2018, equation 1; CutMix, Yun et al. 2019, equations 1
    and 2.
    """
    kinds = [name for name in ("mixup", "cutmix") if getattr(how, name)]
    if not kinds or len(labels) < 2:
        return Mixed(images, labels, labels, 1.0)
    kind = draw.choice(kinds)
    alpha = getattr(how, kind)
    share = draw.betavariate(alpha, alpha)
    others = labels.roll(1)
    if kind == "mixup":
        return Mixed(images.lerp(images.roll(1, 0), 1 - share), labels, others, share)
    height, width = images.shape[2:]
    side = math.sqrt(1 - share) / 2
    y, x = draw.randrange(height), draw.randrange(width)
    top, bottom = _cut(y, side * height, height)
    left, right = _cut(x, side * width, width)
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images.roll(1, 0)[
        :, :, top:bottom, left:right
    ]
    share = 1 - (bottom - top) * (right - left) / (height * width)
    return Mixed(mixed, labels, others, share)


def _cut(middle: int, half: float, size: int) -> tuple[int, int]:
    """Return the start and end of a part, clipped to the image."""
    return max(round(middle - half), 0), min(round(middle + half), size)
