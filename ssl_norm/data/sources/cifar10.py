"""CIFAR-10 (Krizhevsky, 2009): 50,000 + 10,000 colour images of 32 x 32 pixels in 10 classes."""

from typing import Annotated

import numpy as np
import torch
from annotated_types import Interval

from ssl_norm.data.dataset import ImageSet, Splits
from ssl_norm.data.sources.torchvision_files import open_dataset


def load_cifar10(
    *,
    root: str | None = None,
    download: bool = True,
    image_size: Annotated[int, Interval(ge=8, le=8192)] = 32,
) -> Splits:
    """Return CIFAR-10; pretraining uses the training images.

    Args:
        root: folder that holds, or will hold, `cifar-10-batches-py`.
        download: whether to download missing files.
        image_size: side of the views in pixels; the images keep their 32.

    Raises:
        UserError: files are missing and cannot be downloaded.
    """
    train = _load(root, download, train=True)
    return Splits(train, train, _load(root, download, train=False))


def _load(root: str | None, download: bool, *, train: bool) -> ImageSet:
    from torchvision.datasets import CIFAR10  # takes a second to import

    def make(place: str, fetch: bool) -> CIFAR10:
        return CIFAR10(place, train, download=fetch)

    dataset = open_dataset(make, "CIFAR-10", CIFAR10.base_folder, root, download)
    pixels = torch.from_numpy(np.ascontiguousarray(dataset.data))
    return ImageSet(pixels, torch.tensor(dataset.targets), tuple(dataset.classes))
