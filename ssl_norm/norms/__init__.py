"""Normalization layers by name. Importing this needs no torch; building a layer does."""

from ssl_norm.norms.factory import make_norm
from ssl_norm.norms.registry import NORMS, NormLike, NormSpec, parse_norm

__all__ = ["NORMS", "NormLike", "NormSpec", "make_norm", "parse_norm"]
