"""Verdict and hyperparameters in the words that TensorBoard shows."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ssl_norm.text import as_typed, flatten

MEANINGS = MappingProxyType(
    {
        "healthy": "Embeddings spread over many directions.",
        "dimensional": "Embeddings differ, but along few dimensions: dimensional collapse.",
        "complete": "All embeddings point in one direction: complete collapse.",
        "uncertain": "Too early to say, or between the zones of healthy and collapsed embeddings.",
    }
)


def verdict_markdown(step: int, verdict: str, evidence: str) -> str:
    """Return verdict, step, evidence and meaning as Markdown.

    Example:
        >>> print(verdict_markdown(40, "healthy", "negative cosine 0.21, feature std 0.84"))
        **healthy** at step 40: negative cosine 0.21, feature std 0.84
        <BLANKLINE>
        *Embeddings spread over many directions.*
    """
    found = f"**{verdict}** at step {step}" + (f": {evidence}" if evidence else "")
    advice = " docs/collapse.md tells what to do." if verdict in ("dimensional", "complete") else ""
    return f"{found}\n\n*{MEANINGS[verdict]}*{advice}"


def flat_settings(settings: Mapping[str, Any]) -> dict[str, float | int | str]:
    """Return nested settings by dotted key, as the HParams page takes them.

    Numbers stay numbers, other values become text; null is left out, as an empty cell.

    Example:
        >>> flat_settings({"norm": {"encoder": "bn", "sync": True}, "seed": 1, "limit": None})
        {'norm.encoder': 'bn', 'norm.sync': 'true', 'seed': 1}
    """
    return {
        key: as_typed(value)
        if isinstance(value, bool) or not isinstance(value, int | float)
        else value
        for key, value in flatten(settings).items()
        if value is not None
    }
