"""The measurements behind a verdict, in one sentence."""

from collections.abc import Mapping
from math import isfinite, nan

from ssl_norm.monitors.verdict import Thresholds, Verdict, VerdictState, has_few_dimensions, zone

LASTS: Mapping[Verdict, str] = {
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
    """Return the measurements behind a run's verdict, how long it lasts, and the loss of a collapse.

    Args:
        state: the verdict.
        step: the latest step.
        values: as for :func:`ssl_norm.monitors.verdict.zone`, and where known `loss`, `loss_at_collapse`
            and, to be told in the place of the effective rank that counts, `latest_effective_rank`.
        thresholds: where the zones begin.
        patience: steps in a row that change the verdict.

    Example:
        >>> values = {"negative_cosine": 0.8483, "feature_std": 0.0107}
        >>> evidence(VerdictState("complete", 1), 23, values, Thresholds(), patience=20)
        'feature std 0.0107, below 0.05 (negative cosine 0.8483); collapsed for 23 steps'
    """
    if not values:
        return "nothing was measured yet"
    parts = [zone_sentence(values, thresholds)]
    if state.since is not None:
        parts.append(f"{LASTS[state.verdict]} for {step - state.since + 1} steps")
    if state.candidate is not None:
        so_far = "1 step" if state.streak == 1 else f"{state.streak} steps"
        parts.append(f"{state.candidate} for the last {so_far}, and a verdict takes {patience}")
    if state.verdict == "complete" and at_collapse(values):
        constant = values["loss_at_collapse"]
        parts.append(f"loss {values['loss']:.4f}, a constant embedding has {constant:g}")
    return "; ".join(parts)


def zone_sentence(values: Mapping[str, float], thresholds: Thresholds) -> str:
    """Return the measurements of one moment, with the borders that put them in their zone.

    Example:
        >>> values = {"negative_cosine": 0.95, "feature_std": 0.3}
        >>> zone_sentence(values, Thresholds())
        'negative cosine 0.9500, between 0.9 and 0.99 (feature std 0.3000)'
    """
    found = zone(values, thresholds)
    cosine, std = values["negative_cosine"], values["feature_std"]
    if found == "complete":
        return _spread(
            values,
            f", above {thresholds.complete_cosine:g}" * (cosine > thresholds.complete_cosine),
            f", below {thresholds.complete_std:g}" * (std < thresholds.complete_std),
        )
    ranks = _ranks(values, thresholds)
    if found == "dimensional":
        return f"{ranks}; {_spread(values)}"
    between_cosines = f", between {thresholds.healthy_cosine:g} and {thresholds.complete_cosine:g}"
    between_stds = f", between {thresholds.complete_std:g} and {thresholds.healthy_std:g}"
    spread = _spread(
        values,
        between_cosines * (cosine >= thresholds.healthy_cosine),
        between_stds * (std <= thresholds.healthy_std),
    )
    return f"{spread}; {ranks}" if ranks else spread


def _spread(values: Mapping[str, float], cosine_border: str = "", std_border: str = "") -> str:
    """Return both measures of spread; in brackets the one beside a border that has none of its own."""
    cosine = f"negative cosine {values['negative_cosine']:.4f}{cosine_border}"
    std = f"feature std {values['feature_std']:.4f}{std_border}"
    if cosine_border and std_border:
        return f"{cosine}, and {std}"
    if cosine_border:
        return f"{cosine} ({std})"
    return f"{std} ({cosine})" if std_border else f"{cosine}, {std}"


def _ranks(values: Mapping[str, float], thresholds: Thresholds) -> str:
    """Return the latest effective rank where it is known, with the border where the one that counts is below."""
    rank = values.get("latest_effective_rank", values.get("effective_rank", nan))
    if not isfinite(rank):
        return ""
    few = has_few_dimensions(values, thresholds.dimensional_rank)
    low = f", below {thresholds.dimensional_rank:g}" if few else ""
    return f"effective rank {rank:.1f} of at most {values['dimensions']:.0f}{low}"


def at_collapse(values: Mapping[str, float]) -> bool:
    """Whether the loss is what constant embeddings give, within 5 % of it or 0.05."""
    loss, constant = values.get("loss"), values.get("loss_at_collapse")
    if loss is None or constant is None:
        return False
    return abs(loss - constant) <= max(0.05, 0.05 * abs(constant))
