"""Report of the shift between moving averages and exact statistics."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ssl_norm.text import counted


@dataclass(frozen=True)
class StatisticsShift:
    """Moments of the channels that were normalized with the old statistics of a batch norm.

    Attributes:
        mean: (C,) float64, (new mean - old mean) / sqrt(old variance + eps); 0 if they were exact.
        deviation: (C,) float64, sqrt((new variance + eps) / (old variance + eps)); 1 if they were
            exact.
        count: values per channel of the new statistics: samples times positions.
    """

    mean: Tensor
    deviation: Tensor
    count: int

    @property
    def typical_mean(self) -> float:
        """Root mean square over channels of the shift of the mean, in deviations."""
        return float(self.mean.square().mean().sqrt())

    @property
    def largest_mean(self) -> float:
        """Largest shift of the mean of a channel, in deviations."""
        return float(self.mean.abs().max())

    @property
    def typical_deviation(self) -> float:
        """Geometric mean over channels of the ratio of deviations, new to old."""
        return float(self.deviation.log().mean().exp())

    @property
    def deviation_range(self) -> tuple[float, float]:
        """Smallest and largest ratio of deviations of all channels."""
        return float(self.deviation.min()), float(self.deviation.max())


def statistics_shift(
    old: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor], eps: float, count: int
) -> StatisticsShift:
    """Return the shift between old and new (mean, variance), each (C,)."""
    (old_mean, old_variance), (new_mean, new_variance) = (
        tuple(t.double().cpu() for t in pair) for pair in (old, new)
    )
    reference = old_variance + eps
    return StatisticsShift(
        mean=(new_mean - old_mean) * reference.rsqrt(),
        deviation=((new_variance + eps) / reference).sqrt(),
        count=count,
    )


@dataclass(frozen=True)
class PopulationReport:
    """Outcome of a recomputation for every layer with running statistics.

    Attributes:
        shifts: shift of each layer that was recomputed, by name.
        not_called: names of the batch norms that no input reached; they did not change.
        not_recomputed: reasons by name, for other layers with statistics; they did not change.
        batches: batches that this process passed through the model.
    """

    shifts: Mapping[str, StatisticsShift]
    not_called: tuple[str, ...]
    not_recomputed: Mapping[str, str]
    batches: int

    def __str__(self) -> str:
        norms = counted(len(self.shifts), "batch norm")
        parts = [f"{norms} recomputed over {counted(self.batches, 'batch', 'batches')}"]
        if self.shifts:
            name = max(self.shifts, key=lambda name: self.shifts[name].typical_mean)
            parts.append(
                f"largest shift of means {self.shifts[name].typical_mean:.3g} deviations ({name})"
            )
        if self.not_called:
            parts.append(f"never called: {', '.join(self.not_called)}")
        if self.not_recomputed:
            others = (f"{name} ({reason})" for name, reason in self.not_recomputed.items())
            parts.append(f"not recomputed: {', '.join(others)}")
        return "; ".join(parts)
