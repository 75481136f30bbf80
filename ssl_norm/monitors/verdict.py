"""Verdict on a representation: zones of its measurements, and changes over steps."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, nan
from typing import Literal, NamedTuple

Verdict = Literal["uncertain", "healthy", "dimensional", "complete"]
_WIDE = 10.0  # possible dimensions per dimension in use, from which few differ from all


@dataclass(frozen=True)
class Thresholds:
    """Borders of the zones of the verdict; results/verdict.md describes their calibration.

    Attributes:
        complete_cosine: negative cosine, in [-1, 1), above which embeddings have collapsed.
        complete_std: feature std, in [0, 1), below which they have collapsed, even if the target
            has not: rows whose mean cosine is c have a feature std of about sqrt(1 - c).
        healthy_cosine: negative cosine, in [-1, 1), below which they may be healthy.
        healthy_std: feature std, in [0, 1), above which they may be healthy.
        dimensional_rank: effective rank of the centred directions, at least 0, below which too few
            dimensions are in use, if ten times as many are possible.
    """

    complete_cosine: float = 0.99
    complete_std: float = 0.05
    healthy_cosine: float = 0.9
    healthy_std: float = 0.25
    dimensional_rank: float = 5.0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("complete_cosine", -1.0, 1.0),
            ("healthy_cosine", -1.0, 1.0),
            ("complete_std", 0.0, 1.0),
            ("healthy_std", 0.0, 1.0),
            ("dimensional_rank", 0.0, inf),
        ):
            value = getattr(self, name)
            if not low <= value < high:
                raise ValueError(f"{name} must be in [{low:g}, {high:g}), got {value}")
        if self.healthy_cosine > self.complete_cosine or self.healthy_std < self.complete_std:
            raise ValueError(
                "healthy embeddings spread further than collapsed ones: healthy_cosine "
                f"{self.healthy_cosine} must not exceed complete_cosine {self.complete_cosine}, "
                f"nor complete_std {self.complete_std} healthy_std {self.healthy_std}"
            )


def zone(values: Mapping[str, float], thresholds: Thresholds) -> Verdict:
    """Return the zone of the measurements of one moment.

    Args:
        values: `negative_cosine` and `feature_std`; where known `effective_rank` and `dimensions`,
            their upper bound min(N, D). NaN counts as not measured.
        thresholds: borders of the zones.

    Returns:
        `complete`: embeddings have one direction; `dimensional`: they are spread over few
        dimensions; `healthy`: over many; `uncertain`: in between.

    Example:
        >>> zone({"negative_cosine": 0.27, "feature_std": 0.8}, Thresholds())
        'healthy'
        >>> zone({"negative_cosine": 0.6, "feature_std": 0.02}, Thresholds())
        'complete'
    """
    cosine, std = values["negative_cosine"], values["feature_std"]
    if cosine > thresholds.complete_cosine or std < thresholds.complete_std:
        return "complete"
    if not (cosine < thresholds.healthy_cosine and std > thresholds.healthy_std):
        return "uncertain"
    return "dimensional" if has_few_dimensions(values, thresholds.dimensional_rank) else "healthy"


def has_few_dimensions(values: Mapping[str, float], below: float) -> bool:
    """Whether the effective rank is known, below a bound, and at most a tenth of its maximum."""
    rank, dimensions = values.get("effective_rank", nan), values.get("dimensions", nan)
    return rank < below and dimensions >= _WIDE * rank


class VerdictState(NamedTuple):
    """The verdict after some steps, and the latest steps that may change it.

    Attributes:
        verdict: of the present; `uncertain` at first.
        since: first step of the streak that made the verdict; None before the first.
        candidate: zone of the latest steps, if it is not the verdict.
        streak: number of latest consecutive steps in the candidate's zone.
        streak_start: the first of them.
        outside: number of latest consecutive steps outside the verdict's zone.
        outside_start: the first of them.
    """

    verdict: Verdict = "uncertain"
    since: int | None = None
    candidate: Verdict | None = None
    streak: int = 0
    streak_start: int | None = None
    outside: int = 0
    outside_start: int | None = None

    @property
    def collapsed_at_step(self) -> int | None:
        """Step at which the present collapse, complete or dimensional, began; None without one."""
        return self.since if self.verdict in ("complete", "dimensional") else None


def advance(state: VerdictState, step: int, found: Verdict, patience: int) -> VerdictState:
    """Return the verdict after one more step.

    It changes to another zone after `patience` consecutive steps in that zone, and is dated to the
    first of them. This holds in every direction: networks without batch norm do leave a collapse.
    After `patience` consecutive steps outside the verdict's zone, but in several others, it becomes
    `uncertain`. Shorter streaks change nothing, so that a network that is near collapse for some
    steps after its initialisation raises no alarm.

    Args:
        state: the verdict before.
        step: number of the step.
        found: zone of this step's embeddings.
        patience: consecutive steps that change the verdict, at least 1.

    Example:
        >>> state = VerdictState()
        >>> for step in (1, 2, 3):
        ...     state = advance(state, step, "complete" if step > 1 else "healthy", patience=2)
        >>> state.verdict, state.since
        ('complete', 2)
    """
    if found == state.verdict:
        since = step if state.since is None else state.since
        return VerdictState(state.verdict, since)
    goes_on = found == state.candidate
    streak = state.streak + 1 if goes_on else 1
    start = state.streak_start if goes_on else step
    outside = state.outside + 1
    outside_start = step if state.outside_start is None else state.outside_start
    if streak >= patience:
        return VerdictState(found, start)
    if outside >= patience and state.verdict != "uncertain":
        towards = (found, streak, start) if found != "uncertain" else ()
        return VerdictState("uncertain", outside_start, *towards)
    return VerdictState(state.verdict, state.since, found, streak, start, outside, outside_start)
