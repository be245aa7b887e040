"""MobileNetV2, as the spec of mobilenet_v2 describes it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvBn(nn.Sequential):
    """Convolution, batch norm, relu6.

    Shape: N x in_channels x H x W to N x width x H' x W'.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__(
            nn.Conv2d(
                in_channels,
                width,
                kernel_size=kernel,
                stride=stride,
                padding=kernel // 2,
                groups=groups,
                bias=False,
            ),
            nn.BatchNorm2d(width),
            nn.ReLU6(inplace=True),
        )


class InvertedResidual(nn.Module):
    """An inverted residual with a linear bottleneck (Sandler et al. 2018, table 1).

    Shape: N x in_channels x H x W to N x width x H' x W'.
    """

    def __init__(
        self, in_channels: int, expand: int, width: int, stride: int = 1
    ) -> None:
        super().__init__()
        mid_channels = expand * in_channels
        layers: list[nn.Module] = []
        if expand > 1:
            layers.append(ConvBn(in_channels, mid_channels))
        layers += [
            ConvBn(
                mid_channels, mid_channels, kernel=3, stride=stride, groups=mid_channels
            ),
            nn.Conv2d(mid_channels, width, kernel_size=1, bias=False),
            nn.BatchNorm2d(width),
        ]
        self.conv = nn.Sequential(*layers)
        self.use_shortcut = stride == 1 and in_channels == width

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv(x)
        x = out + x if self.use_shortcut else out
        return x


class MobileNetV2(nn.Module):
    """MobileNetV2 (Sandler et al. 2018, table 2).

    Shape: N x 3 x 224 x 224 to N x 1000.
    """

    def __init__(self, dropout: float = 0.2, classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.Sequential(
            ConvBn(3, 32, kernel=3, stride=2),
            InvertedResidual(32, 1, 16),
            InvertedResidual(16, 6, 24, stride=2),
            InvertedResidual(24, 6, 24),
            InvertedResidual(24, 6, 32, stride=2),
            *(InvertedResidual(32, 6, 32) for _ in range(2)),
            InvertedResidual(32, 6, 64, stride=2),
            *(InvertedResidual(64, 6, 64) for _ in range(3)),
            InvertedResidual(64, 6, 96),
            *(InvertedResidual(96, 6, 96) for _ in range(2)),
            InvertedResidual(96, 6, 160, stride=2),
            *(InvertedResidual(160, 6, 160) for _ in range(2)),
            InvertedResidual(160, 6, 320),
            ConvBn(320, 1280),
        )
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(1280, classes),
        )

        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        x = self.classifier(x)
        return x


if __name__ == "__main__":
    network = MobileNetV2().eval()
    print(tuple(network(torch.randn(1, 3, 224, 224)).shape))
