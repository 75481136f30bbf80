"""An encoder with a linear layer for classes."""

import torch
from torch import Tensor, nn

CLASSIFIER_STREAM = 0x_C1A55  # tells the seed of the linear layer from that of the encoder


class Classifier(nn.Module):
    """Images to logits: a linear layer on the features of an encoder, both trained.

    Args:
        encoder: images (N, 3, H, W) to features (N, num_features), a whole number that it holds.
        classes: K, at least 2.
        seed: of the linear layer. Its initialisation depends on nothing else, so that encoders with
            different norms start with the same one.

    Example:
        >>> encoder = nn.Flatten()
        >>> encoder.num_features = 12
        >>> Classifier(encoder, 10, seed=0)(torch.zeros(4, 3, 2, 2)).shape
        torch.Size([4, 10])
    """

    def __init__(self, encoder: nn.Module, classes: int, *, seed: int) -> None:
        super().__init__()
        width: int = encoder.num_features  # type: ignore[assignment]
        self.encoder = encoder
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed ^ CLASSIFIER_STREAM)
            self.classifier = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, K) of images (N, 3, H, W), float."""
        logits: Tensor = self.classifier(self.encoder(images))
        return logits
