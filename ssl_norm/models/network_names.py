"""Names that tell a learner's target network from its online network."""

import re

ONLINE_WORDS = frozenset({"online", "student", "query", "q"})
TARGET_WORDS = frozenset({"momentum", "target", "teacher", "ema", "lagging", "key", "k"})


def names_target(path: str) -> bool:
    """Return whether a dotted name, with the keys that lead to it, names a target network.

    Example:
        >>> [names_target(name) for name in ("module.encoder_k.", "teacher: backbone.", "encoder.")]
        [True, True, False]
    """
    return not TARGET_WORDS.isdisjoint(re.split(r"[._: ]+", path))
