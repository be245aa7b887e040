"""MobileNetV3, as the spec of mobilenet_v3_large describes it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvBn(nn.Sequential):
    """Convolution, batch norm, activation.

    Shape: N x in_channels x H x W to N x width x H' x W'.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        act: type[nn.Module],
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
            nn.BatchNorm2d(width, eps=0.001, momentum=0.01),
            act(inplace=True),
        )


class SqueezeExcite(nn.Module):
    """Squeeze and excitation: each channel is scaled by a gate, computed from the
    averages of all channels (Hu et al. 2017, figure 3).

    Shape: N x in_channels x H x W to N x in_channels x H x W.
    """

    def __init__(self, in_channels: int, squeeze: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(in_channels, squeeze, kernel_size=1)
        self.fc2 = nn.Conv2d(squeeze, in_channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        out = F.adaptive_avg_pool2d(x, 1)
        out = F.relu(self.fc1(out), inplace=True)
        out = F.hardsigmoid(self.fc2(out), inplace=True)
        x = out * x
        return x


class InvertedResidual(nn.Module):
    """An inverted residual with squeeze and excitation (Howard et al. 2019, figure 4).

    Shape: N x in_channels x H x W to N x width x H' x W'.
    """

    def __init__(
        self,
        in_channels: int,
        kernel: int,
        expand: int,
        width: int,
        squeeze: int,
        act: type[nn.Module],
        stride: int,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if expand != in_channels:
            layers.append(ConvBn(in_channels, expand, act))
        layers.append(
            ConvBn(expand, expand, act, kernel=kernel, stride=stride, groups=expand)
        )
        if squeeze > 0:
            layers.append(SqueezeExcite(expand, squeeze))
        layers.append(
            nn.Sequential(
                nn.Conv2d(expand, width, kernel_size=1, bias=False),
                nn.BatchNorm2d(width, eps=0.001, momentum=0.01),
            )
        )
        self.block = nn.Sequential(*layers)
        self.use_shortcut = stride == 1 and in_channels == width

    def forward(self, x: Tensor) -> Tensor:
        out = self.block(x)
        x = out + x if self.use_shortcut else out
        return x


class MobileNetV3(nn.Module):
    """MobileNetV3 (Howard et al. 2019, tables 1 and 2): rows of kernel, expansion,
    width, squeeze and excitation, activation and stride.

    Shape: N x 3 x 224 x 224 to N x 1000.
    """

    def __init__(self, dropout: float = 0.2, classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.Sequential(
            ConvBn(3, 16, nn.Hardswish, kernel=3, stride=2),
            InvertedResidual(
                16, kernel=3, expand=16, width=16, squeeze=0, act=nn.ReLU, stride=1
            ),
            InvertedResidual(
                16, kernel=3, expand=64, width=24, squeeze=0, act=nn.ReLU, stride=2
            ),
            InvertedResidual(
                24, kernel=3, expand=72, width=24, squeeze=0, act=nn.ReLU, stride=1
            ),
            InvertedResidual(
                24, kernel=5, expand=72, width=40, squeeze=24, act=nn.ReLU, stride=2
            ),
            InvertedResidual(
                40, kernel=5, expand=120, width=40, squeeze=32, act=nn.ReLU, stride=1
            ),
            InvertedResidual(
                40, kernel=5, expand=120, width=40, squeeze=32, act=nn.ReLU, stride=1
            ),
            InvertedResidual(
                40,
                kernel=3,
                expand=240,
                width=80,
                squeeze=0,
                act=nn.Hardswish,
                stride=2,
            ),
            InvertedResidual(
                80,
                kernel=3,
                expand=200,
                width=80,
                squeeze=0,
                act=nn.Hardswish,
                stride=1,
            ),
            InvertedResidual(
                80,
                kernel=3,
                expand=184,
                width=80,
                squeeze=0,
                act=nn.Hardswish,
                stride=1,
            ),
            InvertedResidual(
                80,
                kernel=3,
                expand=184,
                width=80,
                squeeze=0,
                act=nn.Hardswish,
                stride=1,
            ),
            InvertedResidual(
                80,
                kernel=3,
                expand=480,
                width=112,
                squeeze=120,
                act=nn.Hardswish,
                stride=1,
            ),
            InvertedResidual(
                112,
                kernel=3,
                expand=672,
                width=112,
                squeeze=168,
                act=nn.Hardswish,
                stride=1,
            ),
            InvertedResidual(
                112,
                kernel=5,
                expand=672,
                width=160,
                squeeze=168,
                act=nn.Hardswish,
                stride=2,
            ),
            InvertedResidual(
                160,
                kernel=5,
                expand=960,
                width=160,
                squeeze=240,
                act=nn.Hardswish,
                stride=1,
            ),
            InvertedResidual(
                160,
                kernel=5,
                expand=960,
                width=160,
                squeeze=240,
                act=nn.Hardswish,
                stride=1,
            ),
            ConvBn(160, 960, nn.Hardswish),
        )
        self.classifier = nn.Sequential(
            nn.Linear(960, 1280),
            nn.Hardswish(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(1280, classes),
        )

        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
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
    network = MobileNetV3().eval()
    print(tuple(network(torch.randn(1, 3, 224, 224)).shape))
