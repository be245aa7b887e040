"""GoogLeNet, as the spec of googlenet describes it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvBn(nn.Module):
    """Convolution, batch norm, relu.

    Shape: N x in_channels x H x W to N x width x H' x W'.
    """

    def __init__(
        self, in_channels: int, width: int, kernel: int = 1, stride: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            width,
            kernel_size=kernel,
            stride=stride,
            padding=kernel // 2,
            bias=False,
        )
        self.bn = nn.BatchNorm2d(width, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Inception(nn.Module):
    """The Inception module (Szegedy et al. 2014, figure 2b).

    Shape: N x in_channels x H x W to N x (c1 + c3 + c5 + proj) x H x W.
    """

    def __init__(
        self,
        in_channels: int,
        k5: int,
        c1: int,
        r3: int,
        c3: int,
        r5: int,
        c5: int,
        proj: int,
    ) -> None:
        super().__init__()
        self.branch1 = ConvBn(in_channels, c1)
        self.branch2 = nn.Sequential(
            ConvBn(in_channels, r3),
            ConvBn(r3, c3, kernel=3),
        )
        self.branch3 = nn.Sequential(
            ConvBn(in_channels, r5),
            ConvBn(r5, c5, kernel=k5),
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(kernel_size=3, stride=1, padding=1),
            ConvBn(in_channels, proj),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(
            [self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1
        )


class Auxiliary(nn.Module):
    """An auxiliary classifier, which only training needs (section 5).

    Shape: N x in_channels x H x W to N x classes.
    """

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__()
        self.conv = ConvBn(in_channels, 128)
        self.fc1 = nn.Linear(2048, 1024)
        self.dropout1 = nn.Dropout(0.7)
        self.fc2 = nn.Linear(1024, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(x, 4)
        x = self.conv(x)
        x = torch.flatten(x, 1)
        x = self.dropout1(F.relu(self.fc1(x), inplace=True))
        x = self.fc2(x)
        return x


class GoogLeNet(nn.Module):
    """GoogLeNet (Szegedy et al. 2014, table 1).

    By default as torchvision builds it, with batch norm, and 3x3 in the branch that is
    5x5 in the paper.

    Shape: N x 3 x 224 x 224 to N x 1000.
    In training, it also returns aux1 and aux2.
    """

    def __init__(
        self, k5: int = 3, pool4: int = 2, dropout: float = 0.2, classes: int = 1000
    ) -> None:
        super().__init__()
        self.conv1 = ConvBn(3, 64, kernel=7, stride=2)
        self.conv2 = ConvBn(64, 64)
        self.conv3 = ConvBn(64, 192, kernel=3)
        self.inception3a = Inception(
            192, k5, c1=64, r3=96, c3=128, r5=16, c5=32, proj=32
        )
        self.inception3b = Inception(
            256, k5, c1=128, r3=128, c3=192, r5=32, c5=96, proj=64
        )
        self.inception4a = Inception(
            480, k5, c1=192, r3=96, c3=208, r5=16, c5=48, proj=64
        )
        self.inception4b = Inception(
            512, k5, c1=160, r3=112, c3=224, r5=24, c5=64, proj=64
        )
        self.inception4c = Inception(
            512, k5, c1=128, r3=128, c3=256, r5=24, c5=64, proj=64
        )
        self.inception4d = Inception(
            512, k5, c1=112, r3=144, c3=288, r5=32, c5=64, proj=64
        )
        self.inception4e = Inception(
            528, k5, c1=256, r3=160, c3=320, r5=32, c5=128, proj=128
        )
        self.maxpool4 = nn.MaxPool2d(kernel_size=pool4, stride=2, ceil_mode=True)
        self.inception5a = Inception(
            832, k5, c1=256, r3=160, c3=320, r5=32, c5=128, proj=128
        )
        self.inception5b = Inception(
            832, k5, c1=384, r3=192, c3=384, r5=48, c5=128, proj=128
        )
        self.aux1 = Auxiliary(512, classes)
        self.aux2 = Auxiliary(528, classes)
        self.dropout1 = nn.Dropout(dropout)
        self.fc = nn.Linear(1024, classes)

        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        x = self.conv1(x)
        x = F.max_pool2d(x, kernel_size=3, stride=2, ceil_mode=True)
        x = self.conv2(x)
        x = self.conv3(x)
        x = F.max_pool2d(x, kernel_size=3, stride=2, ceil_mode=True)
        x = self.inception3a(x)
        x = self.inception3b(x)
        x = F.max_pool2d(x, kernel_size=3, stride=2, ceil_mode=True)
        inception4a = self.inception4a(x)
        x = self.inception4b(inception4a)
        x = self.inception4c(x)
        inception4d = self.inception4d(x)
        x = self.inception4e(inception4d)
        x = self.maxpool4(x)
        x = self.inception5a(x)
        x = self.inception5b(x)
        x = self.dropout1(F.adaptive_avg_pool2d(x, 1).flatten(1))
        x = self.fc(x)
        if self.training:
            return {
                "output": x,
                "aux1": self.aux1(inception4a),
                "aux2": self.aux2(inception4d),
            }
        return x


if __name__ == "__main__":
    network = GoogLeNet().eval()
    print(tuple(network(torch.randn(1, 3, 224, 224)).shape))
