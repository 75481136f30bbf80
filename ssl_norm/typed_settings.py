"""Settings as the user would type them."""

import re
import shlex
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


def as_argument(key: str, value: Any) -> str:
    """Return `key=value` for a command line, quoted for Hydra and for the shell where they need it.

    Example:
        >>> print(
        ...     as_argument("epochs", 3), as_argument("norm.projector", {"name": "gn", "groups": 4})
        ... )
        epochs=3 'norm.projector={name: gn, groups: 4}'
    """
    text = as_typed(value)
    if isinstance(value, str) and not re.fullmatch(r"[\w.+/:-]+", value):
        escaped = value.replace("'", "\\'")
        text = f"'{escaped}'"
    argument = f"{key}={text}"
    return argument if re.fullmatch(r"[\w.+/:=-]+", argument) else shlex.quote(argument)
