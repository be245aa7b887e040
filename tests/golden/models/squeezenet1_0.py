"""SqueezeNet, as the spec of squeezenet1_0 describes it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Fire(nn.Module):
    """A fire module: few channels in the middle, 1x1 and 3x3 side by side behind
    (Iandola et al. 2016, figure 2).

    Shape: N x in_channels x H x W to N x 2 * expand x H x W.
    """

    def __init__(self, in_channels: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(in_channels, squeeze, kernel_size=1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, kernel_size=1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x), inplace=True)
        out = F.relu(self.expand1x1(x), inplace=True)
        x = F.relu(self.expand3x3(x), inplace=True)
        return torch.cat([out, x], 1)


class SqueezeNet(nn.Module):
    """SqueezeNet (Iandola et al. 2016, table 1): fire2 to fire9, pools after some of
    them.

    Shape: N x 3 x 224 x 224 to N x 1000.
    """

    def __init__(
        self, stem: int = 7, width: int = 96, dropout: float = 0.5, classes: int = 1000
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, width, kernel_size=stem, stride=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True),
            Fire(width, 16, 64),
            Fire(128, 16, 64),
            Fire(128, 32, 128),
            nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True),
            Fire(256, 32, 128),
            Fire(256, 48, 192),
            Fire(384, 48, 192),
            Fire(384, 64, 256),
            nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True),
            Fire(512, 64, 256),
        )
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Conv2d(512, classes, kernel_size=1),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),
        )

        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.get_parameter("classifier.1.weight"), std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = self.classifier(x)
        return torch.flatten(x, 1)


if __name__ == "__main__":
    network = SqueezeNet().eval()
    print(tuple(network(torch.randn(1, 3, 224, 224)).shape))
