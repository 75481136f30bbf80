"""Alarms of collapse on the trace of a training run: `python -m ssl_norm.bench run.csv`.

A trace is a CSV file (.csv or .csv.gz) with a row for each step. The columns `step`,
`negative_cosine` and `feature_std` are required. Further columns are `positive_cosine`, `loss`,
`raw_std` (standard deviation of embeddings without L2 normalization, averaged over dimensions),
`effective_rank`, `rank_me`, and `dimensions` (the largest possible rank); empty cells were not
measured. A first line `# {...}` may contain facts in JSON, such as `width`, the dimension of the
embeddings, and `loss_at_collapse`. metrics.csv of a run of this package is a trace with fewer rows.
"""

import csv
import gzip
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from math import isnan, nan
from pathlib import Path
from typing import Any, NamedTuple

from ssl_norm.console import say
from ssl_norm.errors import UserError
from ssl_norm.exit_code import exit_code_of, wants_help
from ssl_norm.monitors.trend import Trend, advance_trend, trend_values
from ssl_norm.monitors.verdict import (
    PATIENCE,
    Thresholds,
    Verdict,
    VerdictState,
    advance,
    zone,
)
from ssl_norm.text import text_table

NEEDED = ("step", "negative_cosine", "feature_std")
OPTIONAL = ("positive_cosine", "raw_std", "loss", "effective_rank", "rank_me", "dimensions")


@dataclass(frozen=True, eq=False)
class Trace:
    """Measurements of a run by column; NaN where a value was not measured."""

    name: str
    columns: dict[str, list[float]]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def steps(self) -> list[int]:
        """Numbers of the steps."""
        return [int(step) for step in self.columns["step"]]

    def latest(self, column: str) -> list[float]:
        """Return a column in which each gap has the last value before it."""
        found, last = [], nan
        for value in self.columns[column]:
            last = last if isnan(value) else value
            found.append(last)
        return found


def read_trace(path: Path) -> Trace:
    """Return the trace in a file.

    Raises:
        UserError: a needed column is missing, a cell is not a number, or the file has no row.
    """
    try:
        raw = path.read_bytes()
        lines = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode().splitlines()
        facts = json.loads(lines[0][1:]) if lines and lines[0].startswith("#") else {}
        rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
        known = [name for name in (*NEEDED, *OPTIONAL, "probe") if rows and name in rows[0]]
        columns = {name: [float(row[name] or nan) for row in rows] for name in known}
        facts = {**facts, "loss_at_collapse": float(facts.get("loss_at_collapse", nan))}
        steps = columns.get("step", [])
        if not all(map(float.is_integer, steps)):
            raise ValueError("a cell of column step is not an integer")
        for before, step in pairwise(steps):
            if step <= before:
                raise ValueError(f"step {step:g} after {before:g}; number the steps of all epochs")
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file") from error
    except (OSError, ValueError, TypeError, AttributeError, EOFError) as error:
        raise UserError(f"{path} is not a trace: {error}") from error
    if missing := [name for name in NEEDED if name not in columns]:
        raise UserError(
            f"{path}: columns {', '.join(NEEDED)} expected, {', '.join(missing)} missing"
        )
    for name in OPTIONAL:
        columns.setdefault(name, [nan] * len(rows))
    return Trace(path.name.removesuffix(".gz").removesuffix(".csv"), columns, facts)


_SHARES = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


class Alarm(NamedTuple):
    """A rule that decides at which rows of a trace a run has collapsed."""

    rule: Callable[[Trace, float], list[bool]]  # from a trace and a threshold
    threshold: float  # default
    source: str  # publication or code from which the rule is taken
    candidates: tuple[float, ...] = _SHARES  # thresholds to compare

    def fires_at(self, trace: Trace, threshold: float | None = None) -> int | None:
        """Return the first step at which the alarm is raised, or None."""
        fired = self.rule(trace, self.threshold if threshold is None else threshold)
        return next((s for s, f in zip(trace.steps, fired, strict=True) if f), None)


def lasting(trace: Trace, passed: Sequence[bool], patience: int = PATIENCE) -> list[bool]:
    """Return for each row whether a condition has held for `patience` steps.

    Alarms whose source names no number of steps have the default patience of the verdict.
    """
    found, since = [], None
    for step, holds in zip(trace.steps, passed, strict=True):
        since = (step if since is None else since) if holds else None
        found.append(since is not None and step - since + 1 >= patience)
    return found


def _above(column: str, patience: int = PATIENCE) -> Callable[[Trace, float], list[bool]]:
    return lambda trace, t: lasting(trace, [v > t for v in trace.columns[column]], patience)


def _below(column: str) -> Callable[[Trace, float], list[bool]]:
    return lambda trace, t: lasting(trace, [v < t for v in trace.columns[column]])


def _low_rank(column: str, trace: Trace, share: float) -> list[bool]:
    rank, most = trace.latest(column), trace.latest("dimensions")
    return lasting(trace, [r < share * d for r, d in zip(rank, most, strict=True)])


def _at_floor(trace: Trace, tolerance: float) -> list[bool]:
    floor = trace.facts.get("loss_at_collapse", nan)
    room = tolerance * max(abs(floor), 1.0)
    return lasting(trace, [abs(loss - floor) <= room for loss in trace.columns["loss"]])


def judge(
    trace: Trace, thresholds: Thresholds | None = None, patience: int = PATIENCE
) -> list[Verdict]:
    """Return the verdict of :class:`ssl_norm.CollapseMonitor` at each row."""
    limits = thresholds or Thresholds()
    state, trend, verdicts = VerdictState(), Trend(), []
    before = rank = nan
    columns, dimensions = trace.columns, trace.latest("dimensions")
    for row, step in enumerate(trace.steps):
        cosines = columns["positive_cosine"][row], columns["negative_cosine"][row]
        trend = advance_trend(trend, step, *cosines, limits.collapsing_window)
        if not isnan(measured := columns["effective_rank"][row]):
            before, rank = (measured if isnan(rank) else rank), measured
        values = {
            "negative_cosine": cosines[1],
            "feature_std": columns["feature_std"][row],
            "effective_rank": max(rank, before),
            "dimensions": dimensions[row],
            "collapsing": float(state.verdict == "collapsing"),
        }
        found = zone(
            values | trend_values(trend, limits.complete_cosine, limits.collapsing_window), limits
        )
        state = advance(state, step, found, patience)
        verdicts.append(state.verdict)
    return verdicts


def ours(trace: Trace, collapsing_errors: float, patience: int = PATIENCE) -> list[bool]:
    """Return whether the verdict at each row names a collapse."""
    limits = Thresholds(collapsing_errors=collapsing_errors)
    verdicts = judge(trace, limits, patience)
    return [verdict in ("collapsing", "dimensional", "complete") for verdict in verdicts]


COSINES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
ALARMS = {
    "negative cosine, 500 steps": Alarm(
        _above("negative_cosine", 500), 0.99, "rule of thumb of user reports", COSINES
    ),
    "negative cosine": Alarm(
        _above("negative_cosine"), 0.99, f"the same, {PATIENCE} steps", COSINES
    ),
    "std of normalized features": Alarm(
        _below("feature_std"),
        0.5,
        "Chen & He, arXiv 2011.10566, figure 2; lightly's std_of_l2_normalized, times sqrt(D)",
    ),
    "std of raw features": Alarm(
        _below("raw_std"),
        0.1,
        "fairseq, examples/data2vec: min_target_var, without the wait for 5,000 updates",
    ),
    "EmbeddingCollapse": Alarm(
        lambda trace, score: _low_rank("effective_rank", trace, 1 - score),
        0.9,
        "MONAI, monai/metrics/embedding_collapse.py: effective_rank_score, here of L2-normalized "
        "embeddings; higher is worse; the source has no threshold",
        tuple(1 - share for share in _SHARES),
    ),
    "RankMe": Alarm(
        partial(_low_rank, "rank_me"), 0.1, "Garrido et al., arXiv 2210.02885, as a share of D"
    ),
    "loss at its floor": Alarm(
        _at_floor, 0.01, "losses of a constant", (0.001, 0.003, 0.01, 0.02, 0.05, 0.1, 0.2)
    ),
    "ssl_norm": Alarm(ours, 4.0, "docs/collapse.md", (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0)),
}


def report(trace: Trace) -> str:
    """Return the first step of each alarm, and the changes of the verdict, as text."""
    rows = [("alarm", "threshold", "first raised at step")]
    for name, alarm in ALARMS.items():
        step = alarm.fires_at(trace)
        rows.append((name, f"{alarm.threshold:g}", "never" if step is None else str(step)))
    changes, before = [], None
    for step, verdict in zip(trace.steps, judge(trace), strict=True):
        if verdict != before:
            changes.append(f"{verdict} from step {step}")
        before = verdict
    return f"{trace.name}: {', '.join(changes)}\n{text_table(rows)}"


def main(arguments: Sequence[str]) -> int:
    """Print a report on every trace, and return the exit code."""
    if not arguments or wants_help(arguments):
        say(*__doc__.strip().splitlines(), stderr=False)
        return 0
    for path in arguments:
        say(*report(read_trace(Path(path))).splitlines(), "", stderr=False)
    return 0


if __name__ == "__main__":
    sys.exit(exit_code_of(main, sys.argv[1:]))
