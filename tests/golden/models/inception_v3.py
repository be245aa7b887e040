"""Inception3, as the spec of inception_v3 describes it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvValid(nn.Module):
    """Convolution without padding, batch norm, relu.

    Shape: N x in_channels x H x W to N x width x H' x W'.
    """

    def __init__(
        self, in_channels: int, width: int, kernel: int = 3, stride: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, width, kernel_size=kernel, stride=stride, bias=False
        )
        self.bn = nn.BatchNorm2d(width, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class ConvBn(nn.Module):
    """Convolution, batch norm, relu.

    Shape: N x in_channels x H x W to N x width x H x W.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        kernel: int | tuple[int, int] = 1,
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            width,
            kernel_size=kernel,
            stride=stride,
            padding=padding,
            bias=False,
        )
        self.bn = nn.BatchNorm2d(width, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class InceptionA(nn.Module):
    """The module at 35x35, with one 5x5 kept (Szegedy et al. 2015, figure 5).

    Shape: N x in_channels x H x W to N x (pool + 224) x H x W.
    """

    def __init__(self, in_channels: int, pool: int) -> None:
        super().__init__()
        self.branch1x1 = ConvBn(in_channels, 64)
        self.branch5x5_1 = ConvBn(in_channels, 48)
        self.branch5x5_2 = ConvBn(48, 64, kernel=5, padding=2)
        self.branch3x3dbl_1 = ConvBn(in_channels, 64)
        self.branch3x3dbl_2 = ConvBn(64, 96, kernel=3, padding=1)
        self.branch3x3dbl_3 = ConvBn(96, 96, kernel=3, padding=1)
        self.branch_pool = ConvBn(in_channels, pool)

    def forward(self, x: Tensor) -> Tensor:
        out = self.branch5x5_2(self.branch5x5_1(x))
        y = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        z = self.branch_pool(F.avg_pool2d(x, kernel_size=3, stride=1, padding=1))
        return torch.cat([self.branch1x1(x), out, self.branch3x3dbl_3(y), z], 1)


class InceptionB(nn.Module):
    """The reduction from 35x35 to 17x17 (Szegedy et al. 2015, figure 10).

    Shape: N x in_channels x H x W to N x (in_channels + 480) x H' x W'.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch3x3 = ConvValid(in_channels, 384, stride=2)
        self.branch3x3dbl_1 = ConvBn(in_channels, 64)
        self.branch3x3dbl_2 = ConvBn(64, 96, kernel=3, padding=1)
        self.branch3x3dbl_3 = ConvValid(96, 96, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        out = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        return torch.cat(
            [
                self.branch3x3(x),
                self.branch3x3dbl_3(out),
                F.max_pool2d(x, kernel_size=3, stride=2),
            ],
            1,
        )


class InceptionC(nn.Module):
    """The module at 17x17, each 7x7 in two factors (Szegedy et al. 2015, figure 6).

    Shape: N x in_channels x H x W to N x 768 x H x W.
    """

    def __init__(self, in_channels: int, c7: int) -> None:
        super().__init__()
        self.branch1x1 = ConvBn(in_channels, 192)
        self.branch7x7_1 = ConvBn(in_channels, c7)
        self.branch7x7_2 = ConvBn(c7, c7, kernel=(1, 7), padding=(0, 3))
        self.branch7x7_3 = ConvBn(c7, 192, kernel=(7, 1), padding=(3, 0))
        self.branch7x7dbl_1 = ConvBn(in_channels, c7)
        self.branch7x7dbl_2 = ConvBn(c7, c7, kernel=(7, 1), padding=(3, 0))
        self.branch7x7dbl_3 = ConvBn(c7, c7, kernel=(1, 7), padding=(0, 3))
        self.branch7x7dbl_4 = ConvBn(c7, c7, kernel=(7, 1), padding=(3, 0))
        self.branch7x7dbl_5 = ConvBn(c7, 192, kernel=(1, 7), padding=(0, 3))
        self.branch_pool = ConvBn(in_channels, 192)

    def forward(self, x: Tensor) -> Tensor:
        out = self.branch7x7_2(self.branch7x7_1(x))
        y = self.branch7x7dbl_2(self.branch7x7dbl_1(x))
        y = self.branch7x7dbl_4(self.branch7x7dbl_3(y))
        z = self.branch_pool(F.avg_pool2d(x, kernel_size=3, stride=1, padding=1))
        return torch.cat(
            [self.branch1x1(x), self.branch7x7_3(out), self.branch7x7dbl_5(y), z], 1
        )


class Auxiliary(nn.Module):
    """An auxiliary classifier, which only training needs (Szegedy et al. 2015, figure
    8).

    Shape: N x in_channels x H x W to N x classes.
    """

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__()
        self.conv0 = ConvBn(in_channels, 128)
        self.conv1 = ConvValid(128, 768, kernel=5)
        self.fc = nn.Linear(768, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(self.conv0(F.avg_pool2d(x, kernel_size=5, stride=3)))
        x = self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return x


class InceptionD(nn.Module):
    """The reduction from 17x17 to 8x8 (Szegedy et al. 2015, section 5).

    Shape: N x in_channels x H x W to N x (in_channels + 512) x H' x W'.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch3x3_1 = ConvBn(in_channels, 192)
        self.branch3x3_2 = ConvValid(192, 320, stride=2)
        self.branch7x7x3_1 = ConvBn(in_channels, 192)
        self.branch7x7x3_2 = ConvBn(192, 192, kernel=(1, 7), padding=(0, 3))
        self.branch7x7x3_3 = ConvBn(192, 192, kernel=(7, 1), padding=(3, 0))
        self.branch7x7x3_4 = ConvValid(192, 192, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        out = self.branch3x3_2(self.branch3x3_1(x))
        y = self.branch7x7x3_2(self.branch7x7x3_1(x))
        y = self.branch7x7x3_4(self.branch7x7x3_3(y))
        return torch.cat([out, y, F.max_pool2d(x, kernel_size=3, stride=2)], 1)


class InceptionE(nn.Module):
    """The module at 8x8, its 3x3s fanned out (Szegedy et al. 2015, figure 7).

    Shape: N x in_channels x H x W to N x (4 * c3 + 512) x H x W.
    """

    def __init__(self, in_channels: int, c3: int = 384) -> None:
        super().__init__()
        self.branch1x1 = ConvBn(in_channels, 320)
        self.branch3x3_1 = ConvBn(in_channels, c3)
        self.branch3x3_2a = ConvBn(c3, c3, kernel=(1, 3), padding=(0, 1))
        self.branch3x3_2b = ConvBn(c3, c3, kernel=(3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = ConvBn(in_channels, 448)
        self.branch3x3dbl_2 = ConvBn(448, c3, kernel=3, padding=1)
        self.branch3x3dbl_3a = ConvBn(c3, c3, kernel=(1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = ConvBn(c3, c3, kernel=(3, 1), padding=(1, 0))
        self.branch_pool = ConvBn(in_channels, 192)

    def forward(self, x: Tensor) -> Tensor:
        branch3x3_1 = self.branch3x3_1(x)
        out = torch.cat(
            [self.branch3x3_2a(branch3x3_1), self.branch3x3_2b(branch3x3_1)], 1
        )
        branch3x3dbl_2 = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        y = torch.cat(
            [
                self.branch3x3dbl_3a(branch3x3dbl_2),
                self.branch3x3dbl_3b(branch3x3dbl_2),
            ],
            1,
        )
        z = self.branch_pool(F.avg_pool2d(x, kernel_size=3, stride=1, padding=1))
        return torch.cat([self.branch1x1(x), out, y, z], 1)


class Inception3(nn.Module):
    """Inception-v3 (Szegedy et al. 2015, table 1).

    Shape: N x 3 x 299 x 299 to N x 1000.
    In training, it also returns AuxLogits.
    """

    def __init__(self, dropout: float = 0.5, classes: int = 1000) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = ConvValid(3, 32, stride=2)
        self.Conv2d_2a_3x3 = ConvValid(32, 32)
        self.Conv2d_2b_3x3 = ConvBn(32, 64, kernel=3, padding=1)
        self.Conv2d_3b_1x1 = ConvBn(64, 80)
        self.Conv2d_4a_3x3 = ConvValid(80, 192)
        self.Mixed_5b = InceptionA(192, 32)
        self.Mixed_5c = InceptionA(256, 64)
        self.Mixed_5d = InceptionA(288, 64)
        self.Mixed_6a = InceptionB(288)
        self.Mixed_6b = InceptionC(768, 128)
        self.Mixed_6c = InceptionC(768, 160)
        self.Mixed_6d = InceptionC(768, 160)
        self.Mixed_6e = InceptionC(768, 192)
        self.AuxLogits = Auxiliary(768, classes)
        self.Mixed_7a = InceptionD(768)
        self.Mixed_7b = InceptionE(1280)
        self.Mixed_7c = InceptionE(2048)
        self.dropout1 = nn.Dropout(dropout)
        self.fc = nn.Linear(2048, classes)

        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.1)
        nn.init.trunc_normal_(self.get_parameter("AuxLogits.fc.weight"), std=0.001)

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        x = self.Conv2d_1a_3x3(x)
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(x))
        x = F.max_pool2d(x, kernel_size=3, stride=2)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))
        x = F.max_pool2d(x, kernel_size=3, stride=2)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
        x = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))
        Mixed_6e = self.Mixed_6e(self.Mixed_6d(x))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(Mixed_6e)))
        x = self.dropout1(F.adaptive_avg_pool2d(x, 1).flatten(1))
        x = self.fc(x)
        if self.training:
            return {"output": x, "AuxLogits": self.AuxLogits(Mixed_6e)}
        return x


if __name__ == "__main__":
    network = Inception3().eval()
    print(tuple(network(torch.randn(1, 3, 299, 299)).shape))
