"""Settings as the user would type them."""

from typing import Any


def as_typed(value: Any) -> str:
    """Return a value of YAML in Hydra's grammar.

    Example:
        >>> as_typed({"name": "bn", "batch_size": 4}), as_typed([1, None, True]), as_typed("gn+ws")
        ('{name: bn, batch_size: 4}', '[1, null, true]', 'gn+ws')
    """
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {as_typed(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_typed, value)) + "]"
    return {"None": "null", "True": "true", "False": "false"}.get(str(value), str(value))
