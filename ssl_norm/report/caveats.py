"""What a reader must know before comparing: what was left out, and what differs beyond the groups."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from ssl_norm.report.grouping import Group
from ssl_norm.report.measures import finite, measures_of, probe_of, value_of
from ssl_norm.report.read import BROKEN, UNFINISHED, RunRecord
from ssl_norm.report.run_files import FINETUNE
from ssl_norm.report.settings import ABSENT, differing_keys, is_compared, settings_of

UNCOMPARED_BUT_NAMED = ("data.root", "device", "monitor.")  # may change numbers, never the groups
ENVIRONMENT = ("commit", "ssl_norm", "torch", "python", "hardware")
WITHOUT_EFFECT = ("log_every", "monitor.log_every", "monitor.embeddings", "monitor.layers_every")


def left_out(runs: Sequence[RunRecord], repeats: Sequence[RunRecord]) -> list[str]:
    """Return a line for each run that is in no table and no figure."""
    return [
        *(f"{run.name} is broken: {run.reason}" for run in runs if run.state == BROKEN),
        *(f"{run.name} is {run.reason}" for run in runs if run.state == UNFINISHED),
        *(
            f"{run.name} repeats a newer run with the same settings and seed {run.seed}"
            for run in repeats
        ),
    ]


def to_mind(keys: Sequence[str], groups: Sequence[Group]) -> list[str]:
    """Return a line for everything that makes the runs in the tables less than comparable."""
    runs = [run for group in groups for run in group.runs]
    return [
        *uneven_seeds(groups),
        *(line for run in runs for line in ended_early(run)),
        *(line for group in groups for line in differences_within(keys, group)),
        *different_environments(runs),
        *different_evaluations(runs),
        *not_measured(groups),
    ]


def uneven_seeds(groups: Sequence[Group]) -> list[str]:
    """Return a line on the groups that lack seeds which others have."""
    all_seeds = sorted({seed for group in groups for seed in group.seeds}, key=natural)
    lacking: dict[str, list[str]] = {}
    for group in groups:
        if not set(all_seeds) <= set(group.seeds):
            lacking.setdefault(", ".join(group.seeds), []).append(group.label)
    return [
        f"only seed {seeds} of {', '.join(all_seeds)}: {'; '.join(labels)}"
        for seeds, labels in lacking.items()
    ]


def ended_early(run: RunRecord) -> list[str]:
    """Return a line where a run ended before its last epoch or step."""
    step, steps = finite(run.summary.get("steps")), finite(run.config.get("steps"))
    if run.tool == FINETUNE and step is not None and steps is not None and step < steps:
        ending = "'s loss became non-finite" * (run.summary.get("ended") == "non_finite_loss")
        return [f"{run.name}{ending or ' stopped'} after {step:g} of {steps:g} steps"]
    epoch, epochs = finite(run.summary.get("epoch")), finite(run.config.get("epochs"))
    untrained = run.config.get("train") is False
    if untrained or epoch is None or epochs is None or epoch >= epochs - 1e-3:
        return []
    collapsed = run.summary.get("verdict") == "complete"
    reason = "stopped at collapse" if collapsed else "stopped"
    return [f"{run.name} {reason} after {epoch:.1f} of {epochs:g} epochs"]


def differences_within(keys: Sequence[str], group: Group) -> list[str]:
    """Return a line for each setting that differs between the runs of a group and is none of the keys."""
    settings = [settings_of(run) for run in group.runs]
    return [
        f"{group.label}: its runs differ in {key}: {shared_values(group.runs, setting(key))}"
        for key in differing_keys(settings)
        if is_compared(key) and key not in keys
    ]


def setting(key: str) -> Callable[[RunRecord], str]:
    """Return the function from a run to one of its settings."""
    return lambda run: settings_of(run).get(key, ABSENT)


def environment(name: str) -> Callable[[RunRecord], str]:
    """Return the function from a run to one part of its environment."""
    return lambda run: run.environment.get(name, "unknown")


def different_environments(runs: Sequence[RunRecord]) -> list[str]:
    """Return a line for everything beyond the settings of learning that is not the same in all runs."""
    lines = []
    for name in ENVIRONMENT:
        lines += difference(f"{name} differs", runs, environment(name))
    for key in differing_keys([settings_of(run) for run in runs]):
        if key.startswith(UNCOMPARED_BUT_NAMED) and key not in WITHOUT_EFFECT:
            lines += difference(f"{key} differs", runs, setting(key))
    changed = [run.name for run in runs if run.environment.get("commit", "").endswith("-dirty")]
    if changed:
        lines.append(
            f"made with files that differ from their commit (-dirty): {named_runs(changed)}"
        )
    return lines


def different_evaluations(runs: Sequence[RunRecord]) -> list[str]:
    """Return lines on accuracies that were measured in different ways, or on another checkpoint than the last."""
    probed = [run for run in runs if probe_of(run)]
    lines = difference("linear top-1 was measured in different ways", probed, probe_of)
    for run in runs:
        step, steps = run.evaluation.get("step"), run.summary.get("steps")
        if step is not None and steps is not None and step != steps:
            lines.append(
                f"{run.name}: linear_eval.json is of step {step}, the run ended at {steps}"
            )
    lines += difference(
        "exact statistics were taken in different ways",
        [run for run in runs if run.population],
        recomputation_of,
    )
    return lines


def recomputation_of(run: RunRecord) -> str:
    """Return in words what the statistics of a run's population_stats.json are of."""
    found = run.population
    of = f" ({found['corruption']})" if found.get("corruption") else ""
    return (
        f"{found.get('samples', '?')} images{of}, {found.get('views', '?')} views, "
        f"batches of {found.get('batch_size', '?')}"
    )


def not_measured(groups: Sequence[Group]) -> list[str]:
    """Return lines on values that no run has, and on those that only some have."""
    runs = [run for group in groups for run in group.runs]
    there, nowhere = measures_of(runs)
    lines = []
    if nowhere:
        lines.append(f"in no run: {', '.join(measure.heading for measure in nowhere)}")
    for measure in there:
        without = [
            run.name for run in runs if measure.is_of(run) and value_of(measure, run) is None
        ]
        if without:
            lines.append(
                f"no {measure.heading} in {counted(len(without), 'run')}: {named_runs(without)}"
            )
    return lines


def difference(
    what: str, runs: Sequence[RunRecord], value: Callable[[RunRecord], str]
) -> list[str]:
    """Return one line where a value is not the same for all runs, none otherwise."""
    if len({value(run) for run in runs}) < 2:
        return []
    return [f"{what}: {shared_values(runs, value)}"]


def shared_values(runs: Sequence[RunRecord], value: Callable[[RunRecord], str]) -> str:
    """Return each value with its runs: the most common one counted, the others' runs named."""
    counts = Counter(value(run) for run in runs)
    (usual, usual_count), *others = counts.most_common()
    parts = [f"{usual} in {counted(usual_count, 'run')}"]
    for other, _ in others:
        parts.append(f"{other} in {named_runs([run.name for run in runs if value(run) == other])}")
    return "; ".join(parts)


def named_runs(names: Iterable[str]) -> str:
    """Return the names of runs in one line."""
    return ", ".join(names)


def counted(count: int, noun: str) -> str:
    """Return a count with its noun."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def natural(seed: str) -> tuple[int, str]:
    """Return a key that sorts seeds as numbers."""
    return (int(seed), "") if seed.isdecimal() else (-1, seed)
