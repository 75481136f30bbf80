"""Values as JSON can hold them."""

from collections.abc import Mapping
from math import isfinite
from typing import Any


def finite_or_none(content: Any) -> Any:
    """Return nested content with None in the place of NaN and infinities, which JSON does not have.

    Example:
        >>> finite_or_none({"loss": float("nan"), "ranks": (1.5, float("inf")), "step": 3})
        {'loss': None, 'ranks': [1.5, None], 'step': 3}
    """
    if isinstance(content, Mapping):
        return {key: finite_or_none(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return list(map(finite_or_none, content))
    return None if isinstance(content, float) and not isfinite(content) else content
