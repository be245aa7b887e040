"""ResNet, as the spec of resnext50_32x4d describes it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Bottleneck(nn.Module):
    """A bottleneck of 1x1, 3x3 and 1x1 convolutions around a shortcut (He et al. 2015,
    figure 5, right).

    The 3x3 takes the stride, or with `first` the 1x1 before it, as in the paper. Groups
    and base widen it (Xie et al. 2016; Zagoruyko & Komodakis 2016).

    Shape: N x in_channels x H x W to N x 4 * width x H' x W'.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int = 1,
        groups: int = 1,
        base: int = 64,
    ) -> None:
        super().__init__()
        mid_channels = width * base // 64 * groups
        out_channels = 4 * width
        self.conv1 = nn.Conv2d(in_channels, mid_channels, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(mid_channels)
        self.conv2 = nn.Conv2d(
            mid_channels,
            mid_channels,
            kernel_size=3,
            stride=stride,
            padding=1,
            groups=groups,
            bias=False,
        )
        self.bn2 = nn.BatchNorm2d(mid_channels)
        self.conv3 = nn.Conv2d(mid_channels, out_channels, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(
                    in_channels, out_channels, kernel_size=1, stride=stride, bias=False
                ),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(out))
        return F.relu(out + self.downsample(x), inplace=True)


class Stage(nn.Sequential):
    """Units of one width, of which the first has the stride.

    Shape: N x in_channels x H x W to N x 4 * width x H' x W'.
    """

    def __init__(
        self, in_channels: int, width: int, count: int, stride: int = 2
    ) -> None:
        super().__init__(
            Bottleneck(in_channels, width, stride=stride, groups=32, base=4),
            *(
                Bottleneck(4 * width, width, groups=32, base=4)
                for _ in range(count - 1)
            ),
        )


class ResNet(nn.Module):
    """ResNet (He et al. 2015, table 1), with projections where the shape changes.

    Shape: N x 3 x 224 x 224 to N x 1000.
    """

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = Stage(64, 64, 3, stride=1)
        self.layer2 = Stage(256, 128, 4)
        self.layer3 = Stage(512, 256, 6)
        self.layer4 = Stage(1024, 512, 3)
        self.fc = nn.Linear(2048, classes)

        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(
                    module.weight, mode="fan_out", nonlinearity="relu"
                )

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
        x = self.layer1(x)
        x = self.layer2(x)
        x = self.layer3(x)
        x = self.layer4(x)
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        x = self.fc(x)
        return x


if __name__ == "__main__":
    network = ResNet().eval()
    print(tuple(network(torch.randn(1, 3, 224, 224)).shape))
