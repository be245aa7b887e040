"""The numbers that a network takes for those of images."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class ImageScale(NamedTuple):
    """What turns numbers of images into those that the network takes.

    Attributes:
        mean: the mean of each channel.
        std: standard deviation of each channel.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def of(self, images: Tensor) -> Tensor:
        """Return N x channels x height x width of N x height x width x channels."""
        import torch

        bytes_ = images.dtype == torch.uint8
        found = images.permute(0, 3, 1, 2).float()
        mean, std = (
            torch.tensor(each, device=images.device)[:, None, None] for each in self
        )
        return ((found / 255 if bytes_ else found) - mean) / std
