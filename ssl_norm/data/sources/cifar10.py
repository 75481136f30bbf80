"""CIFAR-10 (Krizhevsky, 2009): 50,000 + 10,000 colour images of 32 x 32 pixels in 10 classes."""

import numpy as np
import torch

from ssl_norm.data.dataset import ImageSet, Splits
from ssl_norm.data.sources.torchvision_files import open_dataset


def load_cifar10(*, root: str | None, download: bool) -> Splits:
    """Return CIFAR-10 at its own 32 pixels; pretraining uses the training images.

    Args: as `ssl_norm.data.load.load_splits`.

    Raises:
        UserError: the files are not there and cannot be fetched.
    """
    train = _load(root, download, train=True)
    return Splits(train, train, _load(root, download, train=False))


def _load(root: str | None, download: bool, *, train: bool) -> ImageSet:
    from torchvision.datasets import CIFAR10  # takes a second to import

    dataset = open_dataset(
        lambda place, fetch: CIFAR10(place, train, download=fetch),
        "CIFAR-10",
        CIFAR10.base_folder,
        root,
        download,
    )
    return ImageSet(
        torch.from_numpy(np.ascontiguousarray(dataset.data)),
        torch.tensor(dataset.targets),
        tuple(dataset.classes),
    )
