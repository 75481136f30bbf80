"""Images and batches of them. Importing this needs no torch; using it does."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ssl_norm.data.corruption.spec import CORRUPTIONS, Corruption, parse_corruption
from ssl_norm.data.registry import DATA

if TYPE_CHECKING:
    from ssl_norm.data.batches.image_batches import Batches
    from ssl_norm.data.batches.labelled_batches import LabelledBatches
    from ssl_norm.data.corruption.dataset import corrupted
    from ssl_norm.data.dataset import ImageSet, Splits
    from ssl_norm.data.load import load_splits
    from ssl_norm.data.subsets import label_subset

__all__ = [
    "CORRUPTIONS",
    "DATA",
    "Batches",
    "Corruption",
    "ImageSet",
    "LabelledBatches",
    "Splits",
    "corrupted",
    "label_subset",
    "load_splits",
    "parse_corruption",
]

_NEEDS_TORCH = {
    "Batches": "batches.image_batches",
    "ImageSet": "dataset",
    "LabelledBatches": "batches.labelled_batches",
    "Splits": "dataset",
    "corrupted": "corruption.dataset",
    "label_subset": "subsets",
    "load_splits": "load",
}


def __getattr__(name: str) -> Any:
    if name not in _NEEDS_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_NEEDS_TORCH[name]}"), name)
