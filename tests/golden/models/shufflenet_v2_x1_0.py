"""ShuffleNetV2, as the spec of shufflenet_v2_x1_0 describes it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DownUnit(nn.Module):
    """A unit that halves the size: both halves read all channels (Ma et al. 2018,
    figure 3d).

    Shape: N x in_channels x H x W to N x 2 * (width // 2) x H' x W'.
    """

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        mid_channels = width // 2
        self.branch1 = nn.Sequential(
            nn.Conv2d(
                in_channels,
                in_channels,
                kernel_size=3,
                stride=2,
                padding=1,
                groups=in_channels,
                bias=False,
            ),
            nn.BatchNorm2d(in_channels),
            nn.Conv2d(in_channels, mid_channels, kernel_size=1, bias=False),
            nn.BatchNorm2d(mid_channels),
            nn.ReLU(inplace=True),
        )
        self.branch2 = nn.Sequential(
            nn.Conv2d(in_channels, mid_channels, kernel_size=1, bias=False),
            nn.BatchNorm2d(mid_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(
                mid_channels,
                mid_channels,
                kernel_size=3,
                stride=2,
                padding=1,
                groups=mid_channels,
                bias=False,
            ),
            nn.BatchNorm2d(mid_channels),
            nn.Conv2d(mid_channels, mid_channels, kernel_size=1, bias=False),
            nn.BatchNorm2d(mid_channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.branch1(x), self.branch2(x)], 1)
        x = F.channel_shuffle(x, groups=2)
        return x


class Unit(nn.Module):
    """A unit: one half of the channels stays as it is, and the shuffle mixes it with
    the other (Ma et al. 2018, figure 3c).

    Shape: N x in_channels x H x W to N x 2 * (in_channels // 2) x H x W.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        mid_channels = in_channels // 2
        self.branch2 = nn.Sequential(
            nn.Conv2d(mid_channels, mid_channels, kernel_size=1, bias=False),
            nn.BatchNorm2d(mid_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(
                mid_channels,
                mid_channels,
                kernel_size=3,
                padding=1,
                groups=mid_channels,
                bias=False,
            ),
            nn.BatchNorm2d(mid_channels),
            nn.Conv2d(mid_channels, mid_channels, kernel_size=1, bias=False),
            nn.BatchNorm2d(mid_channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        x1, x2 = x.chunk(2, 1)
        out = self.branch2(x2)
        x = F.channel_shuffle(torch.cat([x1, out], 1), groups=2)
        return x


class Stage(nn.Sequential):
    """Units of one width, of which the first halves the size.

    Shape: N x in_channels x H x W to N x 2 * (width // 2) x H' x W'.
    """

    def __init__(self, in_channels: int, width: int, count: int) -> None:
        super().__init__(
            DownUnit(in_channels, width),
            *(Unit(2 * (width // 2)) for _ in range(count - 1)),
        )


class ShuffleNetV2(nn.Module):
    """ShuffleNetV2 (Ma et al. 2018, table 5).

    Shape: N x 3 x 224 x 224 to N x 1000.
    """

    def __init__(self, last: int = 1024, classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, 24, kernel_size=3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(24),
            nn.ReLU(inplace=True),
        )
        self.stage2 = Stage(24, 116, 4)
        self.stage3 = Stage(116, 232, 8)
        self.stage4 = Stage(232, 464, 4)
        self.conv5 = nn.Sequential(
            nn.Conv2d(464, last, kernel_size=1, bias=False),
            nn.BatchNorm2d(last),
            nn.ReLU(inplace=True),
        )
        self.fc = nn.Linear(last, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        x = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
        x = self.stage2(x)
        x = self.stage3(x)
        x = self.stage4(x)
        x = self.conv5(x)
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        x = self.fc(x)
        return x


if __name__ == "__main__":
    network = ShuffleNetV2().eval()
    print(tuple(network(torch.randn(1, 3, 224, 224)).shape))
