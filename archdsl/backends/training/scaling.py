"""Normalising images."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class ImageScale(NamedTuple):
    """The normalisation of images: subtract the mean, divide by the deviation.

    Attributes:
        mean: the mean of each channel.
        std: standard deviation of each channel.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def of(self, images: Tensor) -> Tensor:
        """Normalise N x height x width x channels to N x channels x height x width."""
        import torch

        bytes_ = images.dtype == torch.uint8
        found = images.permute(0, 3, 1, 2).float()
        mean, std = (
            torch.tensor(each, device=images.device)[:, None, None] for each in self
        )
        return ((found / 255 if bytes_ else found) - mean) / std
