"""Groups of runs that differ in their seed only, and mean and deviation over them."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import NamedTuple

from ssl_norm.errors import UserError
from ssl_norm.names import unknown_name
from ssl_norm.report.read import RunRecord
from ssl_norm.report.run_files import FINETUNE
from ssl_norm.report.settings import classes, differing_keys, is_compared, settings_of, telling_keys

HEADS = ("norm.projector", "norm.predictor")


@dataclass(frozen=True)
class Group:
    """Runs with the same values at the keys that the report groups by.

    Attributes:
        values: at those keys.
        label: the values in words, for figures.
        runs: in the order of their seeds.
    """

    values: tuple[str, ...]
    label: str
    runs: tuple[RunRecord, ...]

    @property
    def seeds(self) -> list[str]:
        """The seeds of the runs as text, `-` for a run without one."""
        return ["-" if run.seed is None else str(run.seed) for run in self.runs]


class Statistic(NamedTuple):
    """Mean and spread of one value over the runs of a group.

    Attributes:
        mean: of the values that are there; None where there is none.
        deviation: of the sample, with n - 1; None for fewer than two values.
        present: number of finite values.
        missing: runs without the value, or with one that is not finite.
    """

    mean: float | None
    deviation: float | None
    present: int
    missing: int

    def text(self, decimals: int) -> str:
        """Return `mean +- deviation (n)`; `(n of m)` where values are missing, `-` where all are.

        Example:
            >>> statistic([0.25, 0.75, None]).text(3)
            '0.500 +- 0.354 (2 of 3)'
        """
        if self.mean is None:
            return "-"
        spread = "" if self.deviation is None else f" +- {self.deviation:.{decimals}f}"
        of = f" of {self.present + self.missing}" if self.missing else ""
        return f"{self.mean:.{decimals}f}{spread} ({self.present}{of})"


def statistic(values: Sequence[float | None]) -> Statistic:
    """Return mean, sample deviation and counts of some values; None, NaN and infinity are missing."""
    present = [value for value in values if value is not None and math.isfinite(value)]
    return Statistic(
        mean=fmean(present) if present else None,
        deviation=stdev(present) if len(present) > 1 else None,
        present=len(present),
        missing=len(values) - len(present),
    )


def group_keys(
    runs: Sequence[RunRecord], given: Sequence[str] | None, grid: Sequence[str] = ()
) -> list[str]:
    """Return the keys to group by: the given ones, else those that tell the runs apart.

    Args:
        runs: to be grouped.
        given: by the user.
        grid: keys that the study of the runs varies beside its arms.

    Raises:
        UserError: no run has a given key.
    """
    settings = [settings_of(run) for run in runs]
    if given is None:
        told = telling_keys(settings)
        varied = [key for key in dict.fromkeys(grid) if key in differing_keys(settings)]
        return [*told, *(key for key in varied if key not in told)]
    known = sorted({key for found in settings for key in found})
    for key in given:
        if key not in known:
            raise UserError(unknown_name("key in group_by", key, known))
    return list(given)


def group_runs(runs: Sequence[RunRecord], keys: Sequence[str]) -> list[Group]:
    """Return the groups of runs that agree at some keys, in the order in which the first of each comes."""
    settings = [settings_of(run) for run in runs]
    groups = []
    for values, indices in classes(settings, keys).items():
        members = sorted((runs[index] for index in indices), key=lambda run: run.seed or 0)
        label = label_of(keys, values) or usual_label(members[0])
        groups.append(Group(values, label, tuple(members)))
    return groups


def label_of(keys: Sequence[str], values: Sequence[str]) -> str:
    """Return the values of a group in words; the norms of both heads as `projector/predictor`.

    Example:
        >>> label_of(["method.name", "norm.projector", "norm.predictor"], ["byol", "ln", "none"])
        'byol, heads ln/none'
        >>> label_of(["norm.projector", "optimizer.lr"], ["ln", "0.4"])
        'projector ln, lr 0.4'
    """
    settings = {key: value.replace(",", ", ") for key, value in zip(keys, values, strict=True)}
    last_parts = Counter(key.rpartition(".")[2] for key in keys)
    words = []
    for key, value in settings.items():
        last = key.rpartition(".")[2]
        if key in ("study", "arm", "method.name"):
            words.append(value)
        elif key == "labels_per_class":
            words.append(f"{value} labels a class")
        elif settings.keys() >= set(HEADS) and key in HEADS:
            words += [f"heads {'/'.join(settings[head] for head in HEADS)}"] * (key == HEADS[0])
        else:
            words.append(f"{last if last_parts[last] == 1 else key} {value}")
    return ", ".join(words)


def usual_label(run: RunRecord) -> str:
    """Return what a run is called where it is not told from others: its norm, or method and norms of the heads."""
    settings = settings_of(run)
    if run.tool == FINETUNE:
        return settings.get("norm.encoder", "?")
    heads = "/".join(settings.get(head, "?") for head in HEADS)
    return f"{settings.get('method.name', '?')} {heads}"


def without_repeats(runs: Sequence[RunRecord]) -> tuple[list[RunRecord], list[RunRecord]]:
    """Return the runs of which each settings and seed occur once, the newest, and the older repeats of them."""
    newest: dict[tuple[tuple[str, str], ...], RunRecord] = {}
    for run in sorted(runs, key=_date):
        compared = {key: value for key, value in settings_of(run).items() if is_compared(key)}
        newest[tuple(sorted({**compared, "seed": str(run.seed)}.items()))] = run
    kept = {id(run) for run in newest.values()}
    return [run for run in runs if id(run) in kept], [run for run in runs if id(run) not in kept]


def _date(run: RunRecord) -> float:
    return run.dates[1].timestamp() if run.dates else 0.0
