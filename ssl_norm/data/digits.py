"""scikit-learn's handwritten digits: 1,797 real grey images of 8 x 8 pixels, no download."""

import torch
from torch.nn import functional as F

from ssl_norm.data.image_set import ImageSet, Splits
from ssl_norm.data.split import stratified_split


def load_digits_splits(*, image_size: int, test_fraction: float, seed: int) -> Splits:
    """Return the digits, bilinearly enlarged to `image_size` and repeated in red, green and blue.

    Args: as `ssl_norm.data.load.load_splits`.
    """
    from sklearn.datasets import load_digits  # takes a second to import

    digits = load_digits()
    grey = torch.from_numpy(digits.images).float().unsqueeze(1) * (255 / 16)  # (N, 1, 8, 8)
    grey = F.interpolate(grey, (image_size, image_size), mode="bilinear")
    pixels = grey.round().to(torch.uint8).permute(0, 2, 3, 1).expand(-1, -1, -1, 3).contiguous()
    labels = torch.from_numpy(digits.target).long()
    everything = ImageSet(pixels, labels, tuple(str(digit) for digit in range(10)))
    train, test = (everything.subset(p) for p in stratified_split(labels, test_fraction, seed))
    return Splits(train, train, test)
