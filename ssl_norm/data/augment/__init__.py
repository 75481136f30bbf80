"""Augmentation of whole batches on their device; importing this needs no torch, using it does."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ssl_norm.data.augment.parameters import ViewParameters, check_normalisation

if TYPE_CHECKING:
    from ssl_norm.data.augment.normalise import view_grid
    from ssl_norm.data.augment.views import Views

__all__ = [
    "ViewParameters",
    "Views",
    "check_normalisation",
    "view_grid",
]

_NEEDS_TORCH = {"Views": "views", "view_grid": "normalise"}


def __getattr__(name: str) -> Any:
    if name not in _NEEDS_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_NEEDS_TORCH[name]}"), name)
