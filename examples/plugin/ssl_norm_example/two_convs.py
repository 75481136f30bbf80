"""An encoder of two convolutions."""

from torch import Tensor, nn


class TwoConvs(nn.Module):
    """Two strided convolutions with batch norms and ReLU, then the mean over space.

    Args:
        small_images: whether the first convolution keeps the resolution.
    """

    def __init__(self, *, small_images: bool | None = None) -> None:
        super().__init__()
        stride = 1 if small_images else 2
        self.conv1 = nn.Conv2d(3, 16, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, 2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(32)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (N, 32) of images (N, 3, H, W)."""
        x = self.bn1(self.conv1(x)).relu()
        x = self.bn2(self.conv2(x)).relu()
        return x.mean(dim=(2, 3))
