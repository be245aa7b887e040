"""ResNet, as the spec of resnet18 describes it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al. 2015, figure 5, left).

    Shape: N x in_channels x H x W to N x width x H' x W'.
    """

    def __init__(self, in_channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(
            in_channels, width, kernel_size=3, stride=stride, padding=1, bias=False
        )
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or in_channels != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, width, kernel_size=1, stride=stride, bias=False),
                nn.BatchNorm2d(width),
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.downsample(x), inplace=True)


class Stage(nn.Sequential):
    """Units of one width, of which the first has the stride.

    Shape: N x in_channels x H x W to N x width x H' x W'.
    """

    def __init__(
        self, in_channels: int, width: int, count: int, stride: int = 2
    ) -> None:
        super().__init__(
            BasicBlock(in_channels, width, stride=stride),
            *(BasicBlock(width, width) for _ in range(count - 1)),
        )


class ResNet(nn.Module):
    """ResNet (He et al. 2015, table 1), with projections where the shape changes.

    Shape: N x 3 x 224 x 224 to N x 1000.
    """

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = Stage(64, 64, 2, stride=1)
        self.layer2 = Stage(64, 128, 2)
        self.layer3 = Stage(128, 256, 2)
        self.layer4 = Stage(256, 512, 2)
        self.fc = nn.Linear(512, classes)

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
