"""Caveats of a comparison of runs, and the provenance of their numbers."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from ssl_norm.reporting.columns import columns_of, measured, probe_of
from ssl_norm.reporting.frame import ABSENT, Group, all_runs, differing_keys, grouped, is_compared
from ssl_norm.reporting.read import BROKEN, FINETUNE, UNFINISHED, RunRecord
from ssl_norm.text import counted, finite, unique

# Settings by which runs are not grouped, but which may change numbers.
UNCOMPARED_BUT_NAMED = ("data.root", "device", "monitor.")
WITHOUT_EFFECT = ("log_every", "monitor.log_every", "monitor.embeddings", "monitor.layers_every")
ENVIRONMENT = {
    "commit": "commit",
    "ssl_norm": "ssl_norm",
    "torch": "torch",
    "python": "Python",
    "hardware": "hardware",
}
Text = Callable[[RunRecord], str]


def left_out(runs: Sequence[RunRecord], repeats: Sequence[RunRecord]) -> list[str]:
    """Return a line for each run that is in no table and no figure."""
    again = "repeats a newer run with the same settings and seed"
    return [
        *(f"{run.name} is broken: {run.reason}" for run in runs if run.state == BROKEN),
        *(f"{run.name} is {run.reason}" for run in runs if run.state == UNFINISHED),
        *(f"{run.name} {again} {run.seed}" for run in repeats),
    ]


def to_mind(keys: Sequence[str], groups: Sequence[Group]) -> list[str]:
    """Return a line for each difference that limits comparisons of the runs in the tables."""
    runs = all_runs(groups)
    return [
        *_uneven_seeds(groups),
        *(line for run in runs for line in _ended_early(run)),
        *(
            f"{group.label}: its runs differ in {key}: {_shared_values(group.runs, _setting(key))}"
            for group in groups
            for key in differing_keys(run.texts for run in group.runs)
            if is_compared(key) and key not in keys
        ),
        *_different_environments(runs),
        *_different_evaluations(runs),
        *_below_floor(runs),
        *_not_measured(runs),
    ]


def _uneven_seeds(groups: Sequence[Group]) -> list[str]:
    seeds = sorted(
        {seed for group in groups for seed in group.seeds},
        key=lambda seed: (int(seed), "") if seed.isdecimal() else (-1, seed),
    )
    lacking = [group for group in groups if not set(seeds) <= set(group.seeds)]
    return [
        f"only seed {some} of {', '.join(seeds)}: {'; '.join(group.label for group in same)}"
        for some, same in grouped(lacking, lambda group: ", ".join(group.seeds)).items()
    ]


def _ended_early(run: RunRecord) -> list[str]:
    step, steps = finite(run.summary.get("steps")), finite(run.config.get("steps"))
    if run.tool == FINETUNE and step is not None and steps is not None and step < steps:
        ending = "'s loss became non-finite" * (run.summary.get("ended") == "non_finite_loss")
        return [f"{run.name}{ending or ' stopped'} after {step:g} of {steps:g} steps"]
    epoch, epochs = finite(run.summary.get("epoch")), finite(run.config.get("epochs"))
    untrained = run.config.get("train") is False
    if untrained or epoch is None or epochs is None or epoch >= epochs - 1e-3:
        return []
    reason = "stopped" + " at collapse" * (run.summary.get("verdict") == "complete")
    return [f"{run.name} {reason} after {epoch:.1f} of {epochs:g} epochs"]


def _different_environments(runs: Sequence[RunRecord]) -> list[str]:
    lines = []
    for name in ENVIRONMENT:
        lines += _difference(f"{name} differs", runs, _environment(name))
    for key in differing_keys(run.texts for run in runs):
        if key.startswith(UNCOMPARED_BUT_NAMED) and key not in WITHOUT_EFFECT:
            lines += _difference(f"{key} differs", runs, _setting(key))
    changed = [run for run in runs if run.environment.get("commit", "").endswith("-dirty")]
    dirty = f"made with files that differ from their commit (-dirty): {named_runs(changed)}"
    return lines + [dirty] * bool(changed)


def _different_evaluations(runs: Sequence[RunRecord]) -> list[str]:
    """Return lines on accuracies that were measured differently or not on the last checkpoint."""
    probed, recomputed = filter(probe_of, runs), [run for run in runs if run.population]
    lines = _difference("linear top-1 was measured in different ways", [*probed], probe_of)
    for run in runs:
        step, steps = run.evaluation.get("step"), run.summary.get("steps")
        if step is not None and steps is not None and step != steps:
            lines.append(
                f"{run.name}: linear_eval.json belongs to step {step}, the run ended at {steps}"
            )

    def recomputation(run: RunRecord) -> str:
        samples, views, size = (
            run.population.get(key, "?") for key in ("samples", "views", "batch_size")
        )
        corruption = run.population.get("corruption")
        of = f" ({corruption})" if corruption else ""
        return f"{samples} images{of}, {views} views, batches of {size}"

    what = "exact statistics were computed in different ways"
    return lines + _difference(what, recomputed, recomputation)


def _below_floor(runs: Sequence[RunRecord]) -> list[str]:
    """Return a line on runs whose features classify worse than simple statistics of the pixels."""
    below = []
    for run in runs:
        top1, floor = (measured(run, f"linear_top1{end}") for end in ("", "_image_statistics"))
        below += [run] * (top1 is not None and floor is not None and top1 < floor)
    line = f"linear top-1 below that of plain image statistics: {named_runs(below)}"
    return [line] * bool(below)


def _not_measured(runs: Sequence[RunRecord]) -> list[str]:
    there, nowhere = columns_of(runs)
    lines = [f"in no run: {', '.join(column.heading for column in nowhere)}"] * bool(nowhere)
    for column in there:
        without = [run for run in runs if column.is_lacking(run)]
        count = counted(len(without), "run")
        lines += [f"no {column.heading} in {count}: {named_runs(without)}"] * bool(without)
    return lines


def _setting(key: str) -> Text:
    return lambda run: run.texts.get(key, ABSENT)


def _environment(name: str) -> Text:
    return lambda run: run.environment.get(name, "unknown")


def _difference(what: str, runs: Sequence[RunRecord], value: Text) -> list[str]:
    same = len({value(run) for run in runs}) < 2
    return [] if same else [f"{what}: {_shared_values(runs, value)}"]


def _shared_values(runs: Sequence[RunRecord], value: Text) -> str:
    """Return each value with the names of its runs; the most common one with their number."""
    usual, *others = sorted(grouped(runs, value).items(), key=lambda item: -len(item[1]))
    parts = [f"{usual[0]} in {counted(len(usual[1]), 'run')}"]
    return "; ".join(parts + [f"{other} in {named_runs(those)}" for other, those in others])


def named_runs(runs: Iterable[RunRecord]) -> str:
    """Return the names of runs, separated by commas."""
    return ", ".join(run.name for run in runs)


def provenance(runs: Sequence[RunRecord]) -> dict[str, str]:
    """Return code, versions, hardware and dates of all runs; values that differ have counts."""
    lines = {}
    for part, heading in ENVIRONMENT.items():
        counts = Counter(map(_environment(part), runs))
        lines[heading] = "; ".join(
            value if len(counts) == 1 else f"{value} ({counted(count, 'run')})"
            for value, count in counts.most_common()
        )
    days = [date for run in runs if run.dates for date in run.dates]
    if days:
        lines["files written"] = f"{min(days):%Y-%m-%d %H:%M} to {max(days):%Y-%m-%d %H:%M}"
    return lines


def commands(runs: Sequence[RunRecord]) -> list[str]:
    """Return the commands that made the runs and their evaluations; a sweep is one command."""
    environments = [
        *(run.environment for run in runs),
        *(run.evaluation.get("environment") for run in runs),
        *(run.population.get("environment") for run in runs),
    ]
    return unique(
        f"python {environment['command']}"
        for environment in environments
        if isinstance(environment, Mapping) and environment.get("command")
    )
