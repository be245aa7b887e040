"""DenseNet, as the spec of densenet121 describes it."""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DenseLayer(nn.Module):
    """A bottlenecked dense layer, DenseNet-B (Huang et al. 2016, section 3).

    Shape: N x in_channels x H x W to N x growth x H x W.
    """

    def __init__(self, in_channels: int, growth: int = 32, bottleneck: int = 4) -> None:
        super().__init__()
        mid_channels = bottleneck * growth
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, mid_channels, kernel_size=1, bias=False)
        self.norm2 = nn.BatchNorm2d(mid_channels)
        self.conv2 = nn.Conv2d(
            mid_channels, growth, kernel_size=3, padding=1, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(F.relu(self.norm1(x), inplace=True))
        x = self.conv2(F.relu(self.norm2(x), inplace=True))
        return x


class Dense(nn.ModuleDict):
    """A dense block: every layer reads all that came before it (Huang et al. 2016,
    equation 2).

    Shape: N x in_channels x H x W to N x (in_channels + layers * growth) x H x W.
    """

    def __init__(
        self, in_channels: int, growth: int = 32, layers: int = 6, bottleneck: int = 4
    ) -> None:
        super().__init__()
        for i in range(layers):
            self.add_module(
                f"denselayer{i + 1}",
                DenseLayer(
                    in_channels + i * growth, growth=growth, bottleneck=bottleneck
                ),
            )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.values():
            x = torch.cat([x, layer(x)], 1)
        return x


class Transition(nn.Module):
    """Halves the channels and the size between dense blocks (Huang et al. 2016, table
    1).

    Shape: N x in_channels x H x W to N x in_channels // 2 x H' x W'.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, in_channels // 2, kernel_size=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(F.relu(self.norm(x), inplace=True))
        x = F.avg_pool2d(x, kernel_size=2)
        return x


class DenseNet(nn.Module):
    """DenseNet-BC (Huang et al. 2016, table 1).

    Shape: N x 3 x 224 x 224 to N x 1000.
    """

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.Sequential(
            OrderedDict(
                conv0=nn.Conv2d(3, 64, kernel_size=7, stride=2, padding=3, bias=False),
                norm0=nn.BatchNorm2d(64),
                relu1=nn.ReLU(inplace=True),
                maxpool1=nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
                denseblock1=Dense(64),
                transition1=Transition(256),
                denseblock2=Dense(128, layers=12),
                transition2=Transition(512),
                denseblock3=Dense(256, layers=24),
                transition3=Transition(1024),
                denseblock4=Dense(512, layers=16),
                norm5=nn.BatchNorm2d(1024),
                relu2=nn.ReLU(inplace=True),
            )
        )
        self.classifier = nn.Linear(1024, classes)

        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
            elif isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        x = self.classifier(x)
        return x


if __name__ == "__main__":
    network = DenseNet().eval()
    print(tuple(network(torch.randn(1, 3, 224, 224)).shape))
