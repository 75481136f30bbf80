"""Error message for an unknown name."""

from collections.abc import Iterable
from difflib import get_close_matches


def unknown_name(kind: str, found: object, known: Iterable[str]) -> str:
    """Return one line with the name found, the known names and the nearest match.

    Args:
        kind: kind of object, for example `norm`.
        found: the name as given.
        known: every valid name; at most 20 are listed.

    Example:
        >>> unknown_name("norm", "bm", ["none", "bn", "ln"])
        "unknown norm 'bm'; known: none, bn, ln; did you mean 'bn'?"
    """
    names = list(known)
    listed = ", ".join(names) if len(names) <= 20 else f"{len(names)} names"
    nearest = get_close_matches(str(found), names, n=1, cutoff=0.4)
    hint = f"; did you mean '{nearest[0]}'?" if nearest else ""
    return f"unknown {kind} '{found}'; known: {listed}{hint}"
