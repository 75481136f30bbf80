"""Error messages for unknown names and for numbers that are too small."""

from collections.abc import Iterable
from difflib import get_close_matches


def unknown_name(kind: str, found: object, known: Iterable[str]) -> str:
    """Return one line with the unknown name, the known names (at most 30) and the nearest of them.

    `kind` is a noun, for example `norm` or `option of norm 'bn'`.

    Example:
        >>> unknown_name("norm", "bm", ["none", "bn", "ln"])
        "unknown norm 'bm'; known: none, bn, ln; did you mean 'bn'?"
        >>> unknown_name("key", "foo", ["monitor", "norm"])  # far from all
        "unknown key 'foo'; known: monitor, norm"
    """
    names = list(known)
    listed = ", ".join(names) if len(names) <= 30 else f"{len(names)} names"
    # One wrong letter in two gives 0.5; of longer names, more than half must be the same.
    cutoff = 0.6 if len(str(found)) > 2 else 0.5
    nearest = get_close_matches(str(found), names, n=1, cutoff=cutoff)
    hint = f"; did you mean '{nearest[0]}'?" if nearest else ""
    noun, _, owner = kind.partition(" of ")
    unknown = f"{owner} has no {noun} '{found}'" if owner else f"unknown {kind} '{found}'"
    return f"{unknown}; known: {listed}{hint}"


def at_least(least: int, **count: int) -> int:
    """Return a number that is given by its name; raise ValueError if it is too small.

    Example:
        >>> at_least(1, every=20)
        20
    """
    ((name, found),) = count.items()
    if found < least:
        raise ValueError(f"{name} must be at least {least}, got {found}")
    return found


def reference_hint(name: object) -> str:
    """Return how to write an object of another package that was named with a dot, or "".

    Example:
        >>> reference_hint("mypkg.norms.MyNorm"), reference_hint("bm")
        (" (an object of your own: 'mypkg.norms:MyNorm')", '')
    """
    module, _, target = str(name).rpartition(".")
    parts = [*module.split("."), target]
    is_dotted = bool(module) and all(part.isidentifier() for part in parts)
    return f" (an object of your own: '{module}:{target}')" if is_dotted else ""
