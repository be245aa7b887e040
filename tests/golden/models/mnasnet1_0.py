"""MNASNet, as the spec of mnasnet1_0 describes it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class InvertedResidual(nn.Module):
    """An inverted residual: widened, filtered by channel, narrowed without an
    activation (Sandler et al. 2018, figure 4).

    Shape: N x in_channels x H x W to N x width x H' x W'.
    """

    def __init__(
        self, in_channels: int, expand: int, kernel: int, width: int, stride: int = 1
    ) -> None:
        super().__init__()
        mid_channels = expand * in_channels
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, mid_channels, kernel_size=1, bias=False),
            nn.BatchNorm2d(mid_channels, momentum=0.0003),
            nn.ReLU(inplace=True),
            nn.Conv2d(
                mid_channels,
                mid_channels,
                kernel_size=kernel,
                stride=stride,
                padding=kernel // 2,
                groups=mid_channels,
                bias=False,
            ),
            nn.BatchNorm2d(mid_channels, momentum=0.0003),
            nn.ReLU(inplace=True),
            nn.Conv2d(mid_channels, width, kernel_size=1, bias=False),
            nn.BatchNorm2d(width, momentum=0.0003),
        )
        self.use_shortcut = stride == 1 and in_channels == width

    def forward(self, x: Tensor) -> Tensor:
        out = self.layers(x)
        x = out + x if self.use_shortcut else out
        return x


class Stack(nn.Sequential):
    """Inverted residuals of one width, of which the first has the stride.

    Shape: N x in_channels x H x W to N x width x H' x W'.
    """

    def __init__(
        self,
        in_channels: int,
        expand: int,
        kernel: int,
        width: int,
        count: int,
        stride: int,
    ) -> None:
        super().__init__(
            InvertedResidual(in_channels, expand, kernel, width, stride=stride),
            *(InvertedResidual(width, expand, kernel, width) for _ in range(count - 1)),
        )


class MNASNet(nn.Module):
    """MnasNet-B1 (Tan et al. 2018, figure 7; the code's batch norms).

    Shape: N x 3 x 224 x 224 to N x 1000.
    """

    def __init__(self, dropout: float = 0.2, classes: int = 1000) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 32, kernel_size=3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(32, momentum=0.0003),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 32, kernel_size=3, padding=1, groups=32, bias=False),
            nn.BatchNorm2d(32, momentum=0.0003),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 16, kernel_size=1, bias=False),
            nn.BatchNorm2d(16, momentum=0.0003),
            Stack(16, expand=3, kernel=3, width=24, count=3, stride=2),
            Stack(24, expand=3, kernel=5, width=40, count=3, stride=2),
            Stack(40, expand=6, kernel=5, width=80, count=3, stride=2),
            Stack(80, expand=6, kernel=3, width=96, count=2, stride=1),
            Stack(96, expand=6, kernel=5, width=192, count=4, stride=2),
            Stack(192, expand=6, kernel=3, width=320, count=1, stride=1),
            nn.Conv2d(320, 1280, kernel_size=1, bias=False),
            nn.BatchNorm2d(1280, momentum=0.0003),
            nn.ReLU(inplace=True),
        )
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(1280, classes),
        )

        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(
                    module.weight, mode="fan_out", nonlinearity="relu"
                )
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.kaiming_uniform_(
                    module.weight, mode="fan_out", nonlinearity="sigmoid"
                )
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(x)
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        x = self.classifier(x)
        return x


if __name__ == "__main__":
    network = MNASNet().eval()
    print(tuple(network(torch.randn(1, 3, 224, 224)).shape))
