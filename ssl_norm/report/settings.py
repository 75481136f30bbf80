"""The settings of runs as flat keys, and by which of them the runs differ."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ssl_norm.norms import parse_norm
from ssl_norm.report.read import RunRecord
from ssl_norm.settings.models import MODELS
from ssl_norm.settings.resume import may_change_on_resume

Settings = Mapping[str, str]
PLACE_IN_STUDY = ("study", "arm")
ABSENT = "-"  # the value of a key that a run does not have
SUBJECT = ("method.name", "norm.projector", "norm.predictor", "norm.encoder")
ORDER = (
    *SUBJECT,
    "labels",
    "norm.",
    "encoder.",
    "data.",
    "optimizer.",
    "batch_size",
    "epochs",
    "method.",
)


def settings_of(run: RunRecord) -> dict[str, str]:
    """Return every setting of a run by its dotted key, `study` and `arm` among them where it has a place in a study."""
    settings = flatten(run.config)
    for key in PLACE_IN_STUDY:
        value = run.summary.get(key) or run.config.get(key)
        if value:
            settings[key] = str(value)
        else:
            settings.pop(key, None)
    return settings


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return the values of a nested configuration by dotted key, as text; a norm is one value.

    Example:
        >>> flatten({"norm": {"encoder": {"name": "gn", "groups": 16}}, "seed": 0})
        {'norm.encoder': 'gn(groups=16)', 'seed': '0'}
    """
    flat: dict[str, str] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        is_norm = name.startswith("norm.") or key == "norm_output"
        if isinstance(value, Mapping) and not is_norm:
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = norm_text(value) if is_norm else value_text(value)
    return flat


def norm_text(value: Any) -> str:
    """Return a norm as its specification prints it, or as it stands where this version does not know it."""
    if isinstance(value, bool) or value is None:
        return value_text(value)
    try:
        return str(parse_norm(value))
    except (ValueError, TypeError):
        return value_text(value)


def value_text(value: Any) -> str:
    """Return a value as it stands in YAML on one line."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def is_compared(key: str) -> bool:
    """Whether a key can change what a run learns or reports, or where it stands in a study.

    Seed, paths and what else may change when a run is resumed do not; how a classifier is scored does.
    """
    if key.partition(".")[0] == "evaluation":
        return key != "evaluation.every"
    tools = (MODELS["pretrain"], MODELS["finetune"])
    return key != "seed" and not any(may_change_on_resume(tool, key) for tool in tools)


def differing_keys(runs: Iterable[Settings]) -> list[str]:
    """Return the keys that have several values, the subject of this project first.

    A key that some runs lack (another method's, or one that is newer than the run) differs only where those that
    have it differ.
    """
    values: dict[str, set[str]] = {}
    for settings in runs:
        for key, value in settings.items():
            values.setdefault(key, set()).add(value)
    return sorted((key for key, found in values.items() if len(found) > 1), key=importance)


def importance(key: str) -> tuple[int, str]:
    """Return the place of a key among others, by `ORDER`."""
    places = (place for place, start in enumerate(ORDER) if key.startswith(start))
    return next(places, len(ORDER)), key


def telling_keys(runs: Sequence[Settings]) -> list[str]:
    """Return the keys that tell the runs apart, and no more than needed.

    Where all runs have an arm of a study, that is it, and keys that separate runs of one arm and seed. Else method and
    norms where they differ, and of the other differing keys those that separate runs which the keys before them do not.
    """
    differing = differing_keys(runs)
    of_study = bool(runs) and all("arm" in settings for settings in runs)
    told = [key for key in PLACE_IN_STUDY if of_study and (key == "arm" or key in differing)]
    beside = ["seed"] if of_study else []
    for key in differing:
        if not is_compared(key) or key in PLACE_IN_STUDY:
            continue
        separates = len(classes(runs, [*told, *beside, key])) > len(classes(runs, [*told, *beside]))
        if separates or (key in SUBJECT and not of_study):
            told.append(key)
    return told


def classes(runs: Sequence[Settings], keys: Sequence[str]) -> dict[tuple[str, ...], list[int]]:
    """Return the indices of the runs that have the same values at some keys, by those values."""
    found: dict[tuple[str, ...], list[int]] = {}
    for index, settings in enumerate(runs):
        found.setdefault(tuple(settings.get(key, ABSENT) for key in keys), []).append(index)
    return found
