"""Score alarms on the traces of CollapseBench.

    python -m benchmarks.collapse_bench.score --output results

Thresholds are chosen on the objectives of `TUNING`; all figures are for the other objectives.
"""

import argparse
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from statistics import fmean, median
from typing import NamedTuple

from benchmarks.collapse_bench.objectives import TUNING, loss_at_collapse
from ssl_norm.bench import ALARMS as CURRENT_ALARMS
from ssl_norm.bench import COSINES, Alarm, Trace, judge, lasting, ours, read_trace
from ssl_norm.figures.style import drawing, save_figure

TRACES = Path(__file__).parent / "traces"
END = 0.1  # share of a run that decides its fate
OURS = "ssl_norm"
PATIENCES = (1, 5, 10, 20)
COURSE = ("positive_cosine", "negative_cosine", "feature_std")
SECTIONS = 10  # of a run, in the table of its course


def _ours_of_november(trace: Trace, complete_cosine: float) -> list[bool]:
    """Return whether cosine, std or a rank below 5 pass for 20 steps, as at commit fea222e."""
    spread = trace.columns["negative_cosine"], trace.columns["feature_std"]
    rows = zip(*spread, trace.latest("effective_rank"), trace.latest("dimensions"), strict=True)
    return lasting(
        trace,
        [
            cosine > complete_cosine
            or std < 0.05
            or (cosine < 0.9 and std > 0.25 and rank < 5 and most >= 10 * rank)
            for cosine, std, rank, most in rows
        ],
        patience=20,
    )


ALARMS = CURRENT_ALARMS | {
    "ssl_norm, November 2026": Alarm(
        _ours_of_november, 0.99, "verdict of commit fea222e, 20 steps", COSINES
    )
}


class Fate(NamedTuple):
    """End of a run.

    Attributes:
        kind: `healthy`, `complete`, `gap` or `dimensional`; `open` if the objective lacks a part
            but the run does not end collapsed; `ambiguous` if it is a published form and the run
            ends neither healthy nor collapsed.
        since: first step from which the run stays collapsed; None if it does not end collapsed.
        recovered: whether a run that ends healthy was collapsed or lacked a part earlier.
    """

    kind: str
    since: int | None = None
    recovered: bool = False


def fate(trace: Trace, healthy_rank: float) -> Fate:
    """Return the fate of a run, from the medians over its last tenth.

    Args:
        trace: the whole run.
        healthy_rank: effective rank at the end of the run with the published form of the objective
            and the same data, encoder and rate.

    `complete`: negative cosine at least 0.95, or feature std at most 0.2. `gap`: positive minus
    negative cosine below 0.05 of 1 - negative cosine. `dimensional`: an effective rank below a
    quarter of `healthy_rank`. `healthy`: a published form with a negative cosine below 0.8 and at
    least half of `healthy_rank`. No alarm uses these thresholds.
    """
    columns = trace.columns
    rows = list(
        zip(
            columns["negative_cosine"],
            columns["positive_cosine"],
            columns["feature_std"],
            trace.latest("effective_rank"),
            strict=True,
        )
    )
    last = max(1, round(END * len(rows)))
    kind = _kind([median(column) for column in zip(*rows[-last:], strict=True)], healthy_rank)
    if kind in ("healthy", "ambiguous"):
        collapsed = sum(row[0] >= 0.95 or row[2] <= 0.2 for row in rows[20:])
        comes_back = trace.facts.get("recovers_at") is not None
        is_lacking = trace.facts.get("without") and not comes_back
        recovered = kind == "healthy" and (comes_back or collapsed >= 100)
        return Fate("open" if is_lacking and not recovered else kind, recovered=recovered)
    outside = [
        step
        for step, row in zip(trace.steps, rows, strict=True)
        if not _is_gone(row, kind, healthy_rank)
    ]
    since = next((step for step in trace.steps if not outside or step > outside[-1]), None)
    return Fate(kind, trace.steps[-last] if since is None else min(since, trace.steps[-last]))


def _kind(end: Sequence[float], healthy_rank: float) -> str:
    negative, positive, std, rank = end
    if negative >= 0.95 or std <= 0.2:
        return "complete"
    if negative > 0.5 and positive - negative < 0.05 * (1 - negative):
        return "gap"
    if rank < healthy_rank / 4:
        return "dimensional"
    return "healthy" if negative < 0.8 and rank >= healthy_rank / 2 else "ambiguous"


def _is_gone(row: Sequence[float], kind: str, healthy_rank: float) -> bool:
    negative, positive, std, rank = row
    if kind == "dimensional":
        return rank < healthy_rank / 4
    if kind == "gap":
        return positive - negative < 0.2 * (1 - negative)
    return negative >= 0.95 or std <= 0.2


class Score(NamedTuple):
    """Counts of an alarm: collapsed runs that it finds, false alarms, and its lead.

    The lead is the number of steps from the alarm to the step from which the run stays collapsed.
    Without an alarm, it is minus the number of steps from there to the end of the run.
    """

    hits: int
    collapsed: int
    false: int
    healthy: int
    early: int
    open: int
    leads: list[int]
    shares: list[float]


@cache
def fired_at(alarm: Alarm, trace: Trace, threshold: float) -> int | None:
    """Return the first step at which an alarm is raised, or None; the result is cached."""
    return alarm.fires_at(trace, threshold)


def score(
    alarm: Alarm, runs: Sequence[tuple[Trace, Fate]], threshold: float | None = None
) -> Score:
    """Return the score of an alarm on runs that are healthy or collapsed at their end."""
    runs_of, fired_in = Counter[str](), Counter[str]()
    leads, shares = [], []
    for trace, end in runs:
        if end.kind == "ambiguous" or end.recovered:
            continue
        fired = fired_at(alarm, trace, alarm.threshold if threshold is None else threshold)
        group = end.kind if end.kind in ("healthy", "open") else "collapsed"
        runs_of[group] += 1
        fired_in[group] += fired is not None
        if end.since is not None:
            leads.append(end.since - (trace.steps[-1] if fired is None else fired))
            shares.append(leads[-1] / trace.steps[-1])
    groups = ("collapsed", "healthy", "open")
    counts = [n for group in groups for n in (fired_in[group], runs_of[group])]
    return Score(*counts, leads, shares)


def tuned(alarm: Alarm, runs: Sequence[tuple[Trace, Fate]]) -> float:
    """Return the threshold with the best hit rate minus false alarm rate; the default if tied."""

    def quality(threshold: float) -> tuple[float, bool]:
        s = score(alarm, runs, threshold)
        return s.hits / max(s.collapsed, 1) - s.false / max(s.healthy, 1), (
            threshold == alarm.threshold
        )

    return max({*alarm.candidates, alarm.threshold}, key=quality)


def interval(count: int, of: int) -> str:
    """Return a share with its 95 % Wilson interval."""
    if not of:
        return "-"
    z, p = 1.96, count / of
    middle, room = p + z * z / (2 * of), z * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    low, high = (max(middle + sign * room, 0) / (1 + z * z / of) for sign in (-1, 1))
    return f"{count} of {of} ({low:.0%} to {high:.0%})"


def read_runs(folder: Path) -> list[tuple[Trace, Fate]]:
    """Return all traces with their fates."""
    traces = [_with_loss(read_trace(path)) for path in sorted(folder.glob("*.csv.gz"))]
    ranks: dict[tuple[object, ...], float] = {}
    for trace in traces:
        if not trace.facts["without"] and not trace.facts["recovers_at"]:
            last = max(1, round(END * len(trace.steps)))
            ranks[_setting(trace)] = median(trace.latest("effective_rank")[-last:])
    return [(trace, fate(trace, ranks.get(_setting(trace), math.nan))) for trace in traces]


def _with_loss(trace: Trace) -> Trace:
    facts = trace.facts
    classes = 2 if facts["data"] == "cancer" else 10
    sizes = facts["batch_size"], facts["width"], classes
    floor = loss_at_collapse(facts["objective"], facts["without"], *sizes)
    return replace(trace, facts=facts | {"loss_at_collapse": floor})


def _setting(trace: Trace) -> tuple[object, ...]:
    facts = trace.facts
    seed = 0 if facts["recovers_at"] else facts["seed"]
    return facts["objective"], facts["data"], facts["encoder"], facts["rate"], seed


def _cells(found: Score) -> list[str]:
    lead = f"{median(found.leads):.0f}" if found.leads else "-"
    share = f"{median(found.shares):.0%}" if found.shares else "-"
    return [
        interval(found.hits, found.collapsed),
        interval(found.false, found.healthy),
        f"{found.early} of {found.open}",
        lead,
        share,
    ]


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table of rows; the first row is its head."""
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])


def tables(runs: Sequence[tuple[Trace, Fate]]) -> tuple[str, dict[str, float]]:
    """Return all tables as Markdown, and the thresholds that were chosen."""
    tuning = [run for run in runs if run[0].facts["objective"] in TUNING]
    held_out = [run for run in runs if run[0].facts["objective"] not in TUNING]
    chosen = {name: tuned(alarm, tuning) for name, alarm in ALARMS.items()}
    head = ["alarm", "threshold", "hits", "false alarms", "alarms in open runs",
            "median lead, steps", "... of the run"]  # fmt: skip
    parts = []
    for title, group in (("Held-out objectives", held_out), ("Tuning objectives", tuning)):
        for words, of in (("chosen on the tuning objectives", chosen), ("as published", {})):
            rows = [head]
            for name, alarm in ALARMS.items():
                threshold = of.get(name, alarm.threshold)
                rows.append([name, f"{threshold:g}", *_cells(score(alarm, group, threshold))])
            parts.append(f"### {title}, thresholds {words}\n\n{markdown(rows)}")
    by_patience = [["patience, steps", "objectives", *head[2:]]]
    for steps in PATIENCES:
        alarm = ALARMS[OURS]._replace(rule=partial(ours, patience=steps))
        for words, group in (("held out", held_out), ("tuning", tuning)):
            by_patience.append([str(steps), words, *_cells(score(alarm, group))])
    parts.append(f"### Patience of our alarm\n\n{markdown(by_patience)}")
    by_objective = [["objective", "healthy", "complete", "gap", "dimensional", "recovered",
                     "open", "ambiguous", "hits", "false alarms"]]  # fmt: skip
    for objective in dict.fromkeys(run[0].facts["objective"] for run in runs):
        group = [run for run in runs if run[0].facts["objective"] == objective]
        kinds = Counter("recovered" if end.recovered else end.kind for _, end in group)
        found = score(ALARMS[OURS], group)
        by_objective.append([
            objective, *(str(kinds[kind]) for kind in by_objective[0][1:8]),
            f"{found.hits} of {found.collapsed}", f"{found.false} of {found.healthy}",
        ])  # fmt: skip
    parts.append(f"### Runs by objective, and our alarm\n\n{markdown(by_objective)}")
    cases = [case(*found) for found in wrong(runs)]
    parts.append("### Runs that our alarm gets wrong\n\n" + ("\n\n".join(cases) or "None."))
    return "\n\n".join(parts), chosen


def wrong(runs: Sequence[tuple[Trace, Fate]]) -> list[tuple[Trace, Fate, int | None]]:
    """Return the runs that our alarm misses, or reports although they are healthy; and its step."""
    alarm = ALARMS[OURS]
    found = [
        (trace, end, fired_at(alarm, trace, alarm.threshold))
        for trace, end in runs
        if end.kind not in ("ambiguous", "open") and not end.recovered
    ]
    return [one for one in found if (one[2] is None) == (one[1].kind != "healthy")]


def case(trace: Trace, end: Fate, fired: int | None) -> str:
    """Return the course of a run as Markdown: means over ten sections, and the last verdict."""
    since = "" if end.since is None else f" from step {end.since}"
    rows = [["steps", "positive cosine", "negative cosine", "feature std", "rank", "verdict"]]
    verdicts, size = judge(trace), math.ceil(len(trace.steps) / SECTIONS)
    columns = [trace.columns[name] for name in COURSE] + [trace.latest("effective_rank")]
    for start in range(0, len(trace.steps), size):
        part = slice(start, start + size)
        steps = trace.steps[part]
        means = [f"{fmean(column[part]):.2f}" for column in columns]
        rows.append([f"{steps[0]} to {steps[-1]}", *means, verdicts[part][-1]])
    alarm = f"alarm at step {fired}" if fired else "no alarm"
    return f"`{trace.name}`: {end.kind}{since}, {alarm}\n\n{markdown(rows)}"


def draw(runs: Sequence[tuple[Trace, Fate]], chosen: Mapping[str, float], path: Path) -> None:
    """Draw hits against false alarms for all thresholds, and leads at the chosen thresholds."""
    held_out = [run for run in runs if run[0].facts["objective"] not in TUNING]
    with drawing(10, 4.2) as figure:
        curves, leads = figure.subplots(1, 2)
        boxes: dict[str, list[float]] = defaultdict(list)
        for number, (name, alarm) in enumerate(ALARMS.items()):
            colour = f"C{number}"
            found = [score(alarm, held_out, t) for t in alarm.candidates]
            points = sorted(
                (s.false / max(s.healthy, 1), s.hits / max(s.collapsed, 1)) for s in found
            )
            curves.plot(*zip(*points, strict=True), "o-", ms=3, label=name, color=colour)
            boxes[name] = score(alarm, held_out, chosen[name]).shares
        curves.set_xlabel("false alarms, share of healthy runs")
        curves.set_ylabel("hits, share of collapsed runs")
        curves.legend(fontsize=7)
        leads.boxplot(list(boxes.values()), orientation="horizontal", tick_labels=list(boxes))
        leads.axvline(0, color="#444444", lw=0.8)
        leads.invert_yaxis()
        leads.set_xlabel("lead of the alarm over the collapse, share of the run")
    save_figure(figure, path)


def main() -> None:
    """Print the tables, and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", type=Path, default=TRACES)
    parser.add_argument("--output", type=Path, default=Path("results"))
    options = parser.parse_args()
    runs = read_runs(options.traces)
    text, chosen = tables(runs)
    draw(runs, chosen, options.output / "collapse_bench.png")
    print(text)


if __name__ == "__main__":
    main()
