"""Verdict on embeddings: zones of their measurements, changes over steps, and evidence."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, nan
from typing import Annotated, Literal, NamedTuple

from annotated_types import Interval

from ssl_norm.signature import options_of
from ssl_norm.text import counted

Verdict = Literal["uncertain", "healthy", "collapsing", "dimensional", "complete"]
PATIENCE = 5  # default number of steps before a verdict changes; results/collapse_bench.md
_WIDE = 10.0  # a rank is low only if this many times as many dimensions are possible
_COUNTED = 128.0  # largest number of possible dimensions for `dimensional_share`


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Thresholds of the zones of the verdict; results/verdict.md describes their calibration.

    A verdict of `collapsing` stays while the cosine rises at all, and above `healthy_cosine` until
    it falls by `collapsing_errors`.

    Attributes:
        complete_cosine: `complete`: a negative cosine above this suffices
        complete_std: `complete`: a feature std below this suffices, even if the target has not
            collapsed; it is about sqrt(1 - mean cosine)
        healthy_cosine: `healthy`: the negative cosine must be below this
        healthy_std: `healthy`: the feature std must be above this
        dimensional_share: `dimensional`: an effective rank below this share of the largest
            possible one, min(N, D) but at most 128, suffices
        dimensional_rank: `dimensional`: an effective rank below this suffices, if ten times that
            rank is possible
        collapsing_cosine: `collapsing`: the negative cosine must be above this
        collapsing_window: `collapsing`: number of steps over which the rise of the negative cosine
            is measured; a run needs at least as many steps
        collapsing_errors: `collapsing`: the rise must exceed this many standard errors of its slope
        collapsing_kept: `collapsing`: between the last two half windows, the negative cosine must
            rise by this share of the rise that the slope predicts; excludes rises that have ended
        collapsing_lasts: `collapsing`: the same between the last two fifths of the window; excludes
            rises that have just turned
        collapsing_horizon: `collapsing`: at the present rate, the collapse must be complete within
            this many times the steps so far
        gap_share: `complete`: it suffices if positive minus negative cosine, plus two standard
            errors, is below this share of 1 - negative cosine over collapsing_window; see
            gap_cosine
        gap_cosine: `complete`: gap_share applies only if the negative cosine is above this
        pinned_loss: share of a known constant by which a loss may differ and is still near it
        pinned_steps: number of steps near a known constant from which the evidence names it

    Raises:
        ValueError: a threshold is out of its range, or healthy and complete embeddings overlap.
    """

    complete_cosine: Annotated[float, Interval(ge=-1, lt=1)] = 0.99
    complete_std: Annotated[float, Interval(ge=0, lt=1)] = 0.05
    healthy_cosine: Annotated[float, Interval(ge=-1, lt=1)] = 0.9
    healthy_std: Annotated[float, Interval(ge=0, lt=1)] = 0.25
    dimensional_share: Annotated[float, Interval(ge=0, lt=1)] = 0.06
    dimensional_rank: Annotated[float, Interval(ge=0, lt=1e6)] = 5.0
    collapsing_cosine: Annotated[float, Interval(ge=-1, lt=1)] = 0.6
    collapsing_window: Annotated[float, Interval(ge=2, lt=1e9)] = 100.0
    collapsing_errors: Annotated[float, Interval(ge=0, lt=1e6)] = 4.0
    collapsing_kept: Annotated[float, Interval(ge=-1e6, lt=1)] = 0.5
    collapsing_lasts: Annotated[float, Interval(ge=-1e6, lt=1)] = 0.0
    collapsing_horizon: Annotated[float, Interval(ge=0, lt=1e9)] = 20.0
    gap_share: Annotated[float, Interval(ge=0, lt=1)] = 0.02
    gap_cosine: Annotated[float, Interval(ge=-1, lt=1)] = 0.5
    pinned_loss: Annotated[float, Interval(ge=0, lt=1)] = 0.01
    pinned_steps: Annotated[float, Interval(ge=1, lt=1e9)] = 200.0

    def __post_init__(self) -> None:
        for option in options_of(Thresholds).values():
            (interval,), value = option.annotation.__metadata__, getattr(self, option.name)
            if not interval.ge <= value < interval.lt:
                expected = f"[{interval.ge:g}, {interval.lt:g})"
                raise ValueError(f"{option.name}={value}: a number in {expected} expected")
        for name, side, first, second in (
            ("cosine", "above", "lower", "raise"),
            ("std", "below", "raise", "lower"),
        ):
            healthy, complete = getattr(self, f"healthy_{name}"), getattr(self, f"complete_{name}")
            if healthy != complete and (healthy > complete) == (side == "above"):
                raise ValueError(
                    f"healthy_{name}={healthy:g} is {side} complete_{name}={complete:g}, and "
                    "embeddings would be healthy and collapsed at the same time; "
                    f"{first} the first or {second} the second"
                )


def zone(values: Mapping[str, float], thresholds: Thresholds) -> Verdict:
    """Return the zone of the measurements of one step.

    Args:
        values: `negative_cosine` and `feature_std`; if known, `effective_rank` and `dimensions`,
            its upper bound min(N, D), and :func:`ssl_norm.monitors.trend.trend_values`;
            `collapsing`, 1 if this is the previous verdict. NaN counts as not measured.
        thresholds: thresholds of the zones.

    Returns:
        `complete`: embeddings have one direction, or views of one image are no nearer to each other
        than to other images; `dimensional`: embeddings vary in few dimensions; `collapsing`: they
        approach one direction; `healthy`: they are spread and none of these; `uncertain`: in
        between.
    """
    t, cosine, std = thresholds, values["negative_cosine"], values["feature_std"]
    if cosine > t.complete_cosine or std < t.complete_std:
        return "complete"
    if not (isfinite(cosine) and isfinite(std)):
        return "uncertain"
    if gap_is_closed(values, t):
        return "complete"
    if has_few_dimensions(values, rank_border(values, t)):
        return "dimensional"
    if is_collapsing(values, t):
        return "collapsing"
    return "healthy" if cosine < t.healthy_cosine and std > t.healthy_std else "uncertain"


def has_few_dimensions(values: Mapping[str, float], below: float) -> bool:
    """Return whether the effective rank is below a bound and a tenth of its maximum."""
    rank, dimensions = values.get("effective_rank", nan), values.get("dimensions", nan)
    return rank < below and dimensions >= _WIDE * rank


def rank_border(values: Mapping[str, float], thresholds: Thresholds) -> float:
    """Return the effective rank below which a collapse is dimensional."""
    possible = min(values.get("dimensions", 0.0), _COUNTED)
    return max(thresholds.dimensional_rank, thresholds.dimensional_share * possible)


def is_collapsing(values: Mapping[str, float], thresholds: Thresholds) -> bool:
    """Return whether the negative cosine rises towards 1, or has risen and does not fall again."""
    t = thresholds
    if values.get("trend_steps", 0.0) < t.collapsing_window:
        return False
    cosine, errors = values["trend_cosine"], values["trend_errors"]
    goes_on = cosine > t.collapsing_cosine and errors > 0
    stays = cosine > t.healthy_cosine and errors >= -t.collapsing_errors
    return bool(values.get("collapsing") and (goes_on or stays)) or _rises(values, t)


def _rises(values: Mapping[str, float], thresholds: Thresholds) -> bool:
    """Return whether the negative cosine is high, and rises towards 1 beyond its noise."""
    t = thresholds
    return (
        values["trend_cosine"] > t.collapsing_cosine
        and values["trend_errors"] > t.collapsing_errors
        and values["trend_kept"] > t.collapsing_kept
        and values["trend_lasts"] > t.collapsing_lasts
        and values["steps_to_complete"] < t.collapsing_horizon * values["trend_steps"]
    )


def gap_is_closed(values: Mapping[str, float], thresholds: Thresholds) -> bool:
    """Return whether positive and negative cosine are equal within their noise."""
    t = thresholds
    if values.get("trend_steps", 0.0) < t.collapsing_window or "gap" not in values:
        return False
    cosine = values["trend_cosine"]
    most = values["gap"] + 2 * values["gap_error"]
    return cosine > t.gap_cosine and most < t.gap_share * (1 - cosine)


class VerdictState(NamedTuple):
    """The verdict after some steps, and the latest steps that may change it.

    Consecutive steps are counted by their numbers.
    """

    verdict: Verdict = "uncertain"
    since: int | None = None  # first step of the streak that led to the verdict
    candidate: Verdict | None = None  # zone of the latest steps, if it is not the verdict
    streak: int = 0  # latest steps in the candidate's zone
    streak_start: int | None = None
    outside: int = 0  # latest steps outside the verdict's zone
    outside_start: int | None = None

    @property
    def collapsed_at_step(self) -> int | None:
        """Step at which the present collapse, complete or dimensional, began; None without one."""
        return self.since if self.verdict in ("complete", "dimensional") else None


def advance(state: VerdictState, step: int, found: Verdict, patience: int) -> VerdictState:
    """Return the verdict after one more step.

    The verdict changes to another zone after `patience` consecutive steps in that zone, and is
    dated to the first of them. It can also leave a collapse, as networks without batch norm do.
    After `patience` consecutive steps outside the verdict's zone, but in several others, it becomes
    `uncertain`. Shorter streaks change nothing, so that a network that is near collapse for some
    steps after its initialisation raises no alarm. Steps count by their numbers: if every tenth
    step is observed, three observations span 21 steps.

    `step` is not below the previous one; `found` is the zone of its embeddings; `patience` is at
    least 1.
    """
    if found == state.verdict:
        since = step if state.since is None else state.since
        return VerdictState(state.verdict, since)
    began = state.streak_start if found == state.candidate else None
    start = step if began is None else began
    outside_start = step if state.outside_start is None else state.outside_start
    streak, outside = step - start + 1, step - outside_start + 1
    if streak >= patience:
        return VerdictState(found, start)
    if outside >= patience and state.verdict != "uncertain":
        towards = (found, streak, start) if found != "uncertain" else ()
        return VerdictState("uncertain", outside_start, *towards)
    return VerdictState(state.verdict, state.since, found, streak, start, outside, outside_start)


class PinnedLoss(NamedTuple):
    """Known constant near which the loss has stayed for some steps."""

    name: str
    constant: float
    steps: int


_LASTS: Mapping[Verdict, str] = {
    "complete": "collapsed",
    "collapsing": "collapsing",
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
    pinned: PinnedLoss | None = None,
) -> str:
    """Return the evidence of a run's verdict: measurements, duration, and the loss of a collapse.

    The values at `step` are those of :func:`zone`; if known, also `loss`, `loss_at_collapse`,
    `latest_effective_rank` (shown instead of the rank that decides), `broken` (the share of rows
    that are left out), and monitors of tokens.
    """
    if not values:
        return "nothing was measured yet"
    parts = [zone_sentence(values, thresholds)]
    if state.since is not None:
        parts.append(f"{_LASTS[state.verdict]} for {counted(step - state.since + 1, 'step')}")
    if state.candidate is not None:
        so_far = counted(state.streak, "step")
        parts.append(f"{state.candidate} for the last {so_far}, and a verdict takes {patience}")
    if values.get("broken", 0.0) > 0:
        parts.append(f"{values['broken']:.1%} of the rows hold NaN or infinity and are left out")
    if values.get("token_cosine", 0.0) > thresholds.complete_cosine:
        parts.append(f"tokens of one image are equal (cosine {values['token_cosine']:.4f})")
    if values.get("token_outliers", 0.0) > 0:
        parts.append(f"{values['token_outliers']:.1%} of the tokens are far longer than the rest")
    if state.verdict == "complete" and at_collapse(values):
        constant = values["loss_at_collapse"]
        parts.append(f"loss {values['loss']:.4f}, a constant embedding has {constant:g}")
    elif pinned and pinned.steps >= thresholds.pinned_steps:
        near = f"loss has been within {thresholds.pinned_loss:.0%} of {pinned.name}"
        parts.append(f"{near} = {pinned.constant:.4g} for {pinned.steps} steps")
    return "; ".join(parts)


def zone_sentence(values: Mapping[str, float], thresholds: Thresholds) -> str:
    """Describe the measurements of one step, with the thresholds that decide their zone."""
    t, found = thresholds, zone(values, thresholds)
    cosine, std = values["negative_cosine"], values["feature_std"]
    if found == "complete":
        if cosine <= t.complete_cosine and std >= t.complete_std:
            return _closed_gap(values)
        return _spread(
            values,
            f", above {t.complete_cosine:g}" * (cosine > t.complete_cosine),
            f", below {t.complete_std:g}" * (std < t.complete_std),
        )
    if found == "collapsing":
        return _forecast(values, t)
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


def _forecast(values: Mapping[str, float], thresholds: Thresholds) -> str:
    cosine, std = f"{values['trend_cosine']:.2f}", f"(feature std {values['feature_std']:.4f})"
    if not _rises(values, thresholds):
        return f"negative cosine has risen to {cosine} and does not fall {std}"
    end = values["trend_step"] + values["steps_to_complete"]
    return (
        f"negative cosine {cosine} and rising {values['trend_per_100']:.2g} per 100 steps: "
        f"complete at about step {float(f'{end:.2g}'):.0f} {std}"
    )


def _closed_gap(values: Mapping[str, float]) -> str:
    negative, gap = values["trend_cosine"], values["gap"]
    return (
        f"positive cosine {negative + gap:.4f} and negative cosine {negative:.4f} are equal (gap "
        f"{gap:.4f} +- {values['gap_error']:.4f}): views of one image are no nearer than others"
    )


def _ranks(values: Mapping[str, float], thresholds: Thresholds) -> str:
    """Describe the latest effective rank, if known, with the threshold if the rank is low."""
    rank = values.get("latest_effective_rank", values.get("effective_rank", nan))
    if not isfinite(rank):
        return ""
    border = rank_border(values, thresholds)
    low = f", below {border:.3g}" if has_few_dimensions(values, border) else ""
    return f"effective rank {rank:.1f} of at most {values['dimensions']:.0f}{low}"


def at_collapse(values: Mapping[str, float]) -> bool:
    """Return whether the loss is that of constant embeddings, within 5 % of it or 0.05."""
    constant = values.get("loss_at_collapse", nan)
    return abs(values.get("loss", nan) - constant) <= max(0.05, 0.05 * abs(constant))
