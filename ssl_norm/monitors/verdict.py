"""Verdict on a representation: zones of its measurements, and changes over steps."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from typing import Annotated, Literal, NamedTuple

from annotated_types import Interval

from ssl_norm.signature import options_of

Verdict = Literal["uncertain", "healthy", "dimensional", "complete"]
_WIDE = 10.0  # possible dimensions per dimension in use, from which few differ from all


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Borders of the zones of the verdict; results/verdict.md describes their calibration.

    Attributes:
        complete_cosine: complete collapse: negative cosine above this ...
        complete_std: ... or feature std below this, about sqrt(1 - mean cosine), even if the
            target has not collapsed
        healthy_cosine: healthy: negative cosine below this ...
        healthy_std: ... and feature std above this
        dimensional_rank: dimensional collapse: effective rank of the centred directions below
            this, if ten times as much is possible

    Raises:
        ValueError: a threshold is out of its range, or healthy and complete embeddings overlap.
    """

    complete_cosine: Annotated[float, Interval(ge=-1, lt=1)] = 0.99
    complete_std: Annotated[float, Interval(ge=0, lt=1)] = 0.05
    healthy_cosine: Annotated[float, Interval(ge=-1, lt=1)] = 0.9
    healthy_std: Annotated[float, Interval(ge=0, lt=1)] = 0.25
    dimensional_rank: Annotated[float, Interval(ge=0, lt=1e6)] = 5.0

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
