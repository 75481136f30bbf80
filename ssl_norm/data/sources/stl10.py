"""STL-10 (Coates et al., AISTATS 2011): 96 x 96 pixels, 10 classes, most images unlabelled."""

from typing import Annotated

import numpy as np
import torch
from annotated_types import Interval
from torch import Tensor

from ssl_norm.data.dataset import ImageSet, Splits
from ssl_norm.data.sources.torchvision_files import open_dataset

CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")


def load_stl10(
    *,
    root: str | None = None,
    download: bool = True,
    image_size: Annotated[int, Interval(ge=8, le=8192)] = 96,
) -> Splits:
    """Return STL-10.

    Pretraining uses the 5,000 training and the 100,000 unlabelled images (2.9 GB, held in memory,
    and twice that while loading); a probe is fitted to the 5,000 and scored on the 8,000 test
    images.

    Args:
        root: folder that holds, or will hold, `stl10_binary`.
        download: whether to download missing files.
        image_size: side of the views in pixels; the images keep their 96.

    Raises:
        UserError: files are missing and cannot be downloaded.
    """
    pixels, labels = _load(root, download, "train+unlabeled")
    labelled = (labels >= 0).nonzero().squeeze(1)
    train = ImageSet(pixels, labels[labelled], CLASSES, rows=labelled)
    return Splits(ImageSet(pixels), train, ImageSet(*_load(root, download, "test"), CLASSES))


def _load(root: str | None, download: bool, split: str) -> tuple[Tensor, Tensor]:
    """Return pixels, (N, 96, 96, 3) uint8, and labels, (N,) int64 with -1 for none, of a split."""
    from torchvision.datasets import STL10  # takes a second to import

    def make(place: str, fetch: bool) -> STL10:
        return STL10(place, split, download=fetch)

    dataset = open_dataset(make, "STL-10", STL10.base_folder, root, download)
    pixels = np.ascontiguousarray(dataset.data.transpose(0, 2, 3, 1))
    return torch.from_numpy(pixels), torch.from_numpy(dataset.labels.astype(np.int64))
