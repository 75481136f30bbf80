"""Sentences of the measurements behind a verdict."""

from collections.abc import Mapping
from math import isfinite, nan

from ssl_norm.monitors.verdict import Thresholds, Verdict, VerdictState, has_few_dimensions, zone

_LASTS: Mapping[Verdict, str] = {
    "complete": "collapsed",
    "dimensional": "few dimensions",
    "healthy": "healthy",
    "uncertain": "uncertain",
}


def evidence(
    state: VerdictState,
    step: int,
    values: Mapping[str, float],
    thresholds: Thresholds,
    patience: int,
) -> str:
    """Return the evidence of a run's verdict: measurements, duration, and the loss of a collapse.

    Args:
        state: the verdict.
        step: the latest step.
        values: as for :func:`ssl_norm.monitors.verdict.zone`, and where known `loss`,
            `loss_at_collapse` and `latest_effective_rank`, which is shown in place of the effective
            rank that decides.
        thresholds: borders of the zones.
        patience: consecutive steps that change the verdict.

    Example:
        >>> values = {"negative_cosine": 0.8483, "feature_std": 0.0107}
        >>> evidence(VerdictState("complete", 1), 23, values, Thresholds(), patience=20)
        'feature std 0.0107, below 0.05 (negative cosine 0.8483); collapsed for 23 steps'
    """
    if not values:
        return "nothing was measured yet"
    parts = [zone_sentence(values, thresholds)]
    if state.since is not None:
        parts.append(f"{_LASTS[state.verdict]} for {step - state.since + 1} steps")
    if state.candidate is not None:
        so_far = "1 step" if state.streak == 1 else f"{state.streak} steps"
        parts.append(f"{state.candidate} for the last {so_far}, and a verdict takes {patience}")
    if state.verdict == "complete" and at_collapse(values):
        constant = values["loss_at_collapse"]
        parts.append(f"loss {values['loss']:.4f}, a constant embedding has {constant:g}")
    return "; ".join(parts)


def zone_sentence(values: Mapping[str, float], thresholds: Thresholds) -> str:
    """Return the measurements of one moment, with the borders that decide their zone.

    Example:
        >>> values = {"negative_cosine": 0.95, "feature_std": 0.3}
        >>> zone_sentence(values, Thresholds())
        'negative cosine 0.9500, between 0.9 and 0.99 (feature std 0.3000)'
    """
    t, found = thresholds, zone(values, thresholds)
    cosine, std = values["negative_cosine"], values["feature_std"]
    if found == "complete":
        return _spread(
            values,
            f", above {t.complete_cosine:g}" * (cosine > t.complete_cosine),
            f", below {t.complete_std:g}" * (std < t.complete_std),
        )
    ranks = _ranks(values, thresholds)
    if found == "dimensional":
        return f"{ranks}; {_spread(values)}"
    spread = _spread(
        values,
        f", between {t.healthy_cosine:g} and {t.complete_cosine:g}" * (cosine >= t.healthy_cosine),
        f", between {t.complete_std:g} and {t.healthy_std:g}" * (std <= t.healthy_std),
    )
    return f"{spread}; {ranks}" if ranks else spread


def _spread(values: Mapping[str, float], cosine_border: str = "", std_border: str = "") -> str:
    """Return both spread measures; the one that did not trigger is in brackets."""
    cosine = f"negative cosine {values['negative_cosine']:.4f}{cosine_border}"
    std = f"feature std {values['feature_std']:.4f}{std_border}"
    if cosine_border and std_border:
        return f"{cosine}, and {std}"
    if cosine_border:
        return f"{cosine} ({std})"
    return f"{std} ({cosine})" if std_border else f"{cosine}, {std}"


def _ranks(values: Mapping[str, float], thresholds: Thresholds) -> str:
    """Return the latest effective rank where known, and the border if the deciding one is below."""
    rank = values.get("latest_effective_rank", values.get("effective_rank", nan))
    if not isfinite(rank):
        return ""
    few = has_few_dimensions(values, thresholds.dimensional_rank)
    low = f", below {thresholds.dimensional_rank:g}" if few else ""
    return f"effective rank {rank:.1f} of at most {values['dimensions']:.0f}{low}"


def at_collapse(values: Mapping[str, float]) -> bool:
    """Whether the loss is that of constant embeddings, within 5 % of it or 0.05."""
    loss, constant = values.get("loss"), values.get("loss_at_collapse")
    if loss is None or constant is None:
        return False
    return abs(loss - constant) <= max(0.05, 0.05 * abs(constant))
