"""Normalization layers by name. Importing this needs no torch; building a layer does."""

from typing import TYPE_CHECKING, Any

from ssl_norm.norms.registry import NORMS
from ssl_norm.norms.spec import NormLike, NormSpec, make_norm, parse_norm

if TYPE_CHECKING:
    from ssl_norm.norms.swap.replace import replace_norms

__all__ = ["NORMS", "NormLike", "NormSpec", "make_norm", "parse_norm", "replace_norms"]


def __getattr__(name: str) -> Any:
    """Import `replace_norms`, and torch with it, at its first use."""
    if name != "replace_norms":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ssl_norm.norms.swap.replace import replace_norms

    return replace_norms
