"""The words by which names tell the slowly moving network of a learner from the one that is trained."""

import re

ONLINE_WORDS = frozenset({"online", "student", "query", "q"})
TARGET_WORDS = frozenset({"momentum", "target", "teacher", "ema", "lagging", "key", "k"})


def names_target(path: str) -> bool:
    """Whether a dotted name, or the keys that lead to it, say that it is of the slowly moving network.

    Example:
        >>> (
        ...     names_target("module.encoder_k."),
        ...     names_target("teacher: backbone."),
        ...     names_target("encoder."),
        ... )
        (True, True, False)
    """
    return not TARGET_WORDS.isdisjoint(re.split(r"[._: ]+", path))
