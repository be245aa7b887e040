"""Two layers that archdsl does not have, for `attentive.arch` beside this file."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ECA(nn.Module):
    """Efficient channel attention: weigh each channel by its neighbours' averages.

    Shape: N x C x H x W to the same.

    Source: Wang et al. 2020, "ECA-Net", section 3.3.

    Args:
        size: channels that one weight is computed from, an odd number.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, size, padding=size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        averages = x.mean((2, 3)).unsqueeze(1)
        weights = self.conv(averages).sigmoid()
        return x * weights.transpose(1, 2).unsqueeze(3)


class GeM(nn.Module):
    """Generalised mean of each channel over all positions, with a trained exponent.

    Shape: N x C x H x W to N x C.

    Source: Radenovic et al. 2018, "Fine-tuning CNN image retrieval with no human
    annotation", equation 3.

    Args:
        p: the exponent to start from: 1 is the average, infinity the maximum.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(p))

    def forward(self, x: Tensor) -> Tensor:
        powers = x.clamp(min=1e-6) ** self.p
        return F.adaptive_avg_pool2d(powers, 1).flatten(1) ** (1 / self.p)
