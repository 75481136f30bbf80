"""CIFAR-10 and STL-10 by torchvision, with errors of one line."""

import os
import tarfile
import warnings
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Interval

from ssl_norm.data.dataset import ImageSet, Splits
from ssl_norm.errors import UserError

Side = Annotated[int, Interval(ge=8, le=8192)]
STL10_CLASSES = (
    "airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck",
)  # fmt: skip


def load_cifar10(
    *, root: str | None = None, download: bool = True, image_size: Side = 32
) -> Splits:
    """Return CIFAR-10: 50,000 images for pretraining and training, and 10,000 for testing.

    Args:
        root: folder that holds, or will hold, `cifar-10-batches-py`.
        download: whether to download missing files.
        image_size: side of the views in pixels; the images keep their side of 32 pixels.

    Source: Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
    """

    def images(train: bool) -> ImageSet:
        dataset = _open("CIFAR10", "CIFAR-10", root, download, train=train)
        pixels = torch.from_numpy(np.ascontiguousarray(dataset.data))
        return ImageSet(pixels, torch.tensor(dataset.targets), tuple(dataset.classes))

    train = images(train=True)
    return Splits(train, train, images(train=False))


def load_stl10(*, root: str | None = None, download: bool = True, image_size: Side = 96) -> Splits:
    """Return STL-10, with 10 classes and mostly unlabelled images.

    Pretraining uses the 5,000 training images and the 100,000 unlabelled images (2.9 GB of memory,
    twice as much while they are loaded). A probe is fitted to the 5,000 and scored on the 8,000
    test images.

    Args:
        root: folder that holds, or will hold, `stl10_binary`.
        download: whether to download missing files.
        image_size: side of the views in pixels; the images keep their side of 96 pixels.

    Source: Coates et al., AISTATS 2011.
    """

    def images(split: str) -> ImageSet:
        dataset = _open("STL10", "STL-10", root, download, split=split)
        pixels = torch.from_numpy(np.ascontiguousarray(dataset.data.transpose(0, 2, 3, 1)))
        return ImageSet(pixels, torch.from_numpy(dataset.labels.astype(np.int64)), STL10_CLASSES)

    everything = images("train+unlabeled")
    assert everything.labels is not None
    train = everything.subset((everything.labels >= 0).nonzero().squeeze(1))
    return Splits(ImageSet(everything.pixels), train, images("test"))


def _open(kind: str, title: str, root: str | None, download: bool, **part: Any) -> Any:
    """Return a data set of torchvision; `root` is its folder or the parent of it."""
    from torchvision import datasets  # takes a second to import

    dataset = getattr(datasets, kind)
    folder: str = dataset.base_folder
    if not root:
        raise UserError(f"{title} needs data.root=<folder that holds {folder}>")
    place = Path(os.path.expanduser(root)).absolute()
    if place.name == folder:
        place = place.parent
    try:
        # Arrays that Python 2 pickled make NumPy warn.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return dataset(str(place), download=download, **part)
    except (OSError, RuntimeError, EOFError, tarfile.TarError) as error:
        tried = f"fetching it failed ({error})" if download else "data.download=false"
        raise UserError(
            f"no complete {title} in {place / folder}, and {tried}; "
            f"point data.root at a folder that holds {folder}, or use data=folder for image files"
        ) from error
