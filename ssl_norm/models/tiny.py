"""A small residual network for small images, fast on a CPU."""

from functools import partial

from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norms, and a shortcut around them."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H / stride, W / stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        out: Tensor = self.relu(self.bn2(self.conv2(y)) + self.shortcut(x))
        return out


class TinyResNet(nn.Module):
    """Residual network of three stages of `blocks` blocks, each of which halves the resolution.

    A 3x3 stem with width / 2 channels keeps the resolution; the stages have width, 2 width and 4
    width channels. `num_features` is 4 width. At 32 px and width 32, a forward pass takes 11
    million multiplications; the network has 0.3 million weights.
    """

    def __init__(self, width: int = 32, blocks: int = 1) -> None:
        super().__init__()
        self.num_features = 4 * width
        self.stem = nn.Conv2d(3, width // 2, 3, padding=1, bias=False)
        self.stem_bn = nn.BatchNorm2d(width // 2)
        self.relu = nn.ReLU(inplace=True)
        self.stage1 = _stage(width // 2, width, blocks)
        self.stage2 = _stage(width, 2 * width, blocks)
        self.stage3 = _stage(2 * width, 4 * width, blocks)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Return the spatial means (N, 4 width) of the last stage for images (N, 3, H, W)."""
        x = self.relu(self.stem_bn(self.stem(x)))
        x = self.stage3(self.stage2(self.stage1(x)))
        return x.mean(dim=(2, 3))


def _stage(in_channels: int, out_channels: int, blocks: int) -> nn.Sequential:
    first = ResidualBlock(in_channels, out_channels, stride=2)
    rest = (ResidualBlock(out_channels, out_channels, stride=1) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


def tiny(*, small_images: bool | None = None, width: int = 32, blocks: int = 1) -> TinyResNet:
    """Return a tiny residual network; its stem keeps the resolution for any `small_images`."""
    return TinyResNet(width, blocks)


tiny16 = partial(tiny, width=16)
tiny64 = partial(tiny, width=64)
deep16 = partial(tiny, width=16, blocks=8)  # 49 norms in a row, as in a ResNet-50
