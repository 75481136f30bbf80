"""Groups of runs that differ only in the seed, and the keys that distinguish groups."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import yaml  # type: ignore[import-untyped]  # PyYAML, which omegaconf brings

from ssl_norm.errors import UserError
from ssl_norm.names import unknown_name
from ssl_norm.reporting.read import FINETUNE, PLACE_IN_STUDY, PRETRAIN, RunRecord
from ssl_norm.settings.resume import may_change_on_resume
from ssl_norm.text import as_typed

Texts = Mapping[str, str]
T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
ABSENT = "-"  # the value of a key that a run does not have
HEADS = ("norm.projector", "norm.predictor")
SUBJECT = ("method.name", *HEADS, "norm.encoder")
ORDER = (
    *SUBJECT, "labels", "norm.", "encoder.", "data.", "optimizer.", "batch_size", "epochs",
    "method.",
)  # fmt: skip


@dataclass(frozen=True)
class Group:
    """Runs with the same values of the keys by which the report forms groups."""

    values: tuple[str, ...]  # the values of those keys
    label: str  # name of the group in figures, from the values
    runs: tuple[RunRecord, ...]  # in the order of their seeds

    @property
    def seeds(self) -> list[str]:
        """The seeds of the runs as text, `-` for a run without one."""
        return ["-" if run.seed is None else str(run.seed) for run in self.runs]


def all_runs(groups: Iterable[Group]) -> list[RunRecord]:
    """Return the runs of all groups."""
    return [run for group in groups for run in group.runs]


def is_compared(key: str) -> bool:
    """Return whether a key other than the seed can change the results of a run.

    Paths and most keys that may change on resume cannot; the scoring of a classifier can.
    """
    if key.partition(".")[0] == "evaluation":
        return key != "evaluation.every"
    tools = (PRETRAIN, FINETUNE)
    return key != "seed" and not any(may_change_on_resume(tool, key) for tool in tools)


def differing_keys(runs: Iterable[Texts]) -> list[str]:
    """Return the keys with several values among the runs that have them, by importance."""
    pairs = {pair for settings in runs for pair in settings.items()}
    several = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]

    def importance(key: str) -> tuple[int, str]:
        places = (place for place, start in enumerate(ORDER) if key.startswith(start))
        return next(places, len(ORDER)), key

    return sorted(several, key=importance)


def telling_keys(runs: Sequence[Texts]) -> list[str]:
    """Return as many keys as are needed to distinguish the runs.

    If all runs have an arm of a study, these are the arm, and keys that separate runs of one arm
    and seed. Else they are the method and norms that differ, and keys that separate further runs.
    """
    differing = differing_keys(runs)
    of_study = bool(runs) and all("arm" in settings for settings in runs)
    told = [key for key in PLACE_IN_STUDY if of_study and (key == "arm" or key in differing)]
    fixed = ["seed"] if of_study else []
    for key in differing:
        if not is_compared(key) or key in PLACE_IN_STUDY:
            continue
        separates = _classes(runs, [*told, *fixed, key]) > _classes(runs, [*told, *fixed])
        if separates or (key in SUBJECT and not of_study):
            told.append(key)
    return told


def _classes(runs: Sequence[Texts], keys: Sequence[str]) -> int:
    return len({tuple(settings.get(key, ABSENT) for key in keys) for settings in runs})


def group_keys(
    runs: Sequence[RunRecord], given: Sequence[str] | None, grid: Iterable[str] = ()
) -> list[str]:
    """Return the keys to group by: those given, else those that distinguish runs or are in a grid.

    Raises:
        UserError: no run has a given key.
    """
    settings = [run.texts for run in runs]
    if given is None:
        differing = differing_keys(settings)
        varied = [key for key in grid if key in differing]
        return list(dict.fromkeys([*telling_keys(settings), *varied]))
    known = sorted({key for found in settings for key in found})
    for key in given:
        if key not in known:
            raise UserError(unknown_name("key in group_by", key, known))
    return list(given)


def group_runs(runs: Sequence[RunRecord], keys: Sequence[str]) -> list[Group]:
    """Return groups of the runs that have equal values of some keys, in order of the first runs."""
    groups = []
    for values, same in grouped(
        runs, lambda run: tuple(run.texts.get(key, ABSENT) for key in keys)
    ).items():
        members = sorted(same, key=lambda run: run.seed or 0)
        label = label_of(keys, values)
        if not label:  # all runs are in one group
            run, texts = members[0], members[0].texts
            norms = texts.get("norm.encoder", "?"), "/".join(texts.get(h, "?") for h in HEADS)
            learner = f"{texts.get('method.name', '?')} {norms[1]}"
            label = norms[0] if run.tool == FINETUNE else learner
        groups.append(Group(values, label, tuple(members)))
    return groups


def grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Return lists of the items with the same key, by that key, in the order of first items."""
    found: dict[K, list[T]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


def label_of(keys: Sequence[str], values: Sequence[str]) -> str:
    """Return a name for a group from its values; norms of both heads are `projector/predictor`.

    Example:
        >>> label_of(["method.name", "norm.projector", "norm.predictor"], ["byol", "ln", "none"])
        'byol, heads ln/none'
        >>> label_of(["norm.projector", "optimizer.lr"], ["ln", "0.4"])
        'projector ln, lr 0.4'
    """
    settings = {key: value.replace(",", ", ") for key, value in zip(keys, values, strict=True)}
    last_parts = Counter(key.rpartition(".")[2] for key in keys)
    parts = []
    for key, value in settings.items():
        last = key.rpartition(".")[2]
        if key in ("study", "arm", "method.name"):
            parts.append(value)
        elif key == "labels_per_class":
            parts.append(f"{value} labels a class")
        elif settings.keys() >= set(HEADS) and key in HEADS:
            parts += [f"heads {'/'.join(settings[head] for head in HEADS)}"] * (key == HEADS[0])
        else:
            parts.append(f"{last if last_parts[last] == 1 else key} {value}")
    return ", ".join(parts)


def without_repeats(runs: Sequence[RunRecord]) -> tuple[list[RunRecord], list[RunRecord]]:
    """Return the newest of the runs that share settings and seed, and the older repeats."""
    newest: dict[tuple[tuple[str, str], ...], RunRecord] = {}
    for run in sorted(runs, key=lambda run: run.dates[1].timestamp() if run.dates else 0.0):
        compared = {key: value for key, value in run.texts.items() if is_compared(key)}
        newest[tuple(sorted({**compared, "seed": str(run.seed)}.items()))] = run
    kept = set(newest.values())
    return [run for run in runs if run in kept], [run for run in runs if run not in kept]


def norm_options(norm: Any) -> dict[str, Any]:
    """Return the name and the given options of a norm, from a mapping or from text.

    Example:
        >>> norm_options("{name: bn, batch_size: 4}"), norm_options("gn+ws")
        ({'name': 'bn', 'batch_size': 4}, {'name': 'gn+ws'})
    """
    if isinstance(norm, str) and norm.startswith("{"):
        with suppress(yaml.YAMLError):
            norm = yaml.safe_load(norm)
    if isinstance(norm, Mapping):
        return {str(name): value for name, value in norm.items()}
    return {"name": as_typed(norm)}
