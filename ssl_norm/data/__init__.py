"""Images and batches of them. Importing this needs no torch; using it does."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ssl_norm.data.corruption.spec import CORRUPTIONS as CORRUPTIONS
from ssl_norm.data.corruption.spec import Corruption as Corruption
from ssl_norm.data.corruption.spec import parse_corruption as parse_corruption
from ssl_norm.data.registry import DATA as DATA

if TYPE_CHECKING:
    from ssl_norm.data.batches.image_batches import Batches as Batches
    from ssl_norm.data.batches.labelled_batches import LabelledBatches as LabelledBatches
    from ssl_norm.data.corruption.dataset import corrupted as corrupted
    from ssl_norm.data.dataset import ImageSet as ImageSet
    from ssl_norm.data.dataset import Splits as Splits
    from ssl_norm.data.load import load_splits as load_splits
    from ssl_norm.data.subsets import label_subset as label_subset

_HOMES = {
    "Batches": "batches.image_batches",
    "ImageSet": "dataset",
    "LabelledBatches": "batches.labelled_batches",
    "Splits": "dataset",
    "corrupted": "corruption.dataset",
    "label_subset": "subsets",
    "load_splits": "load",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
