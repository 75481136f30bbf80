"""Records of run folders: settings, results and state of each run."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from math import nan
from pathlib import Path
from typing import Any

from ssl_norm.norms import parse_norm
from ssl_norm.text import as_typed, flatten
from ssl_norm.train.run_folder import TABLES, RunFolder, UnreadableRun

MARKS = ("config.yaml", "summary.json", "metrics.csv")  # a folder with any of them is a run folder
FINISHED, UNFINISHED, BROKEN = "finished", "unfinished", "broken"
PRETRAIN, FINETUNE = "pretrain", "finetune"
NORMS = ("norm.encoder", "norm.projector", "norm.predictor")
PLACE_IN_STUDY = ("study", "arm")


@dataclass(frozen=True, eq=False)
class RunRecord:
    """Content of one run folder; parts that it lacks are empty."""

    folder: Path  # the run folder
    name: str  # name of the run in the report, different from those of other runs
    # `finished` (it wrote its summary), `unfinished` (running or interrupted) or `broken`
    state: str = FINISHED
    reason: str = ""  # one line on why it is unfinished or broken; empty if it is finished
    config: Mapping[str, Any] = field(default_factory=dict)  # config.yaml without its `environment`
    # commit, versions, hardware and command of the run
    environment: Mapping[str, str] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)  # summary.json
    evaluation: Mapping[str, Any] = field(default_factory=dict)  # linear_eval.json
    # linear_eval_steps.json, with evaluations of the kept checkpoints in `steps`
    probes: Mapping[str, Any] = field(default_factory=dict)
    population: Mapping[str, Any] = field(default_factory=dict)  # population_stats.json
    # the numbers in metrics.csv by column; NaN for an empty cell
    metrics: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    verdicts: Sequence[tuple[int, str]] = ()  # (step, verdict) of each row of metrics.csv
    # (step, eigenvalues in descending order) of each row of spectra.csv
    spectra: Sequence[tuple[int, Sequence[float]]] = ()
    layers: Sequence[Mapping[str, Any]] = ()  # the rows of layers.csv
    evaluations: Sequence[Mapping[str, Any]] = ()  # the rows of evaluations.csv
    # times at which its first and last file were written; None if unknown
    dates: tuple[datetime, datetime] | None = None

    @property
    def seed(self) -> int | None:
        """The seed of the run; None if the config has none."""
        seed = self.config.get("seed")
        return seed if isinstance(seed, int) else None

    @property
    def tool(self) -> str | None:
        """The tool that made the run, `pretrain` or `finetune`; None if the run is broken."""
        return _tool_of(self.config)

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """Settings by dotted key, with norms as text and without a null `study` or `arm`."""
        flat = flatten(self.config, whole=_is_norm)
        settings = {key: norm_text(v) if _is_norm(key) else v for key, v in flat.items()}
        for key in PLACE_IN_STUDY:
            settings[key] = self.summary.get(key) or settings.get(key)
        return {k: v for k, v in settings.items() if v or k not in PLACE_IN_STUDY}

    @cached_property
    def texts(self) -> Mapping[str, str]:
        """The settings as a user would type them."""
        return {key: as_typed(value) for key, value in self.settings.items()}

    @property
    def study(self) -> str:
        """The study of the run, or ""."""
        return self.texts.get("study", "")


def _is_norm(key: str) -> bool:
    return key in NORMS or key.rpartition(".")[2] == "norm_output"


def norm_text(value: Any) -> str:
    """Return a norm as `NormSpec` prints it; an unknown one as typed."""
    if isinstance(value, bool) or value is None:
        return as_typed(value)
    try:
        return str(parse_norm(value))
    except (ValueError, TypeError):
        return as_typed(value)


def find_runs(roots: Sequence[Path]) -> list[Path]:
    """Return the run folders in and below some folders, sorted by name and without repeats.

    Hidden folders are not searched; links are followed.
    """
    found: dict[Path, Path] = {}
    for root in roots:
        for folder in _folders(root, set()):
            if any((folder / mark).is_file() for mark in MARKS):
                found.setdefault(folder.resolve(), folder)
    return list(found.values())


def _folders(folder: Path, seen: set[Path]) -> Iterator[Path]:
    if folder.resolve() in seen:
        return
    seen.add(folder.resolve())
    yield folder
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and not entry.name.startswith("."):
            yield from _folders(entry, seen)


def read_runs(folders: Sequence[Path]) -> list[RunRecord]:
    """Return a record of each folder, named by its path below the parent that all share."""
    if len(folders) == 1:
        return [read_run(folders[0], folders[0].resolve().name)]
    absolute = [folder.resolve() for folder in folders]
    base = os.path.commonpath(absolute) if absolute else ""
    names = [os.path.relpath(folder, base) for folder in absolute]
    return [read_run(folder, name) for folder, name in zip(folders, names, strict=True)]


def read_run(folder: Path, name: str) -> RunRecord:
    """Return the record of a run folder; `state` and `reason` tell if it cannot be read."""
    try:
        return RunRecord(folder, name, **_content(folder))
    except UnreadableRun as error:
        return RunRecord(folder, name, BROKEN, error.reason)


def _content(folder: Path) -> dict[str, Any]:
    run = RunFolder(folder)
    config, rows, summary = run.config(), run.rows("metrics.csv"), run.json("summary.json")
    if not _tool_of(config):
        reason = "config.yaml has neither method nor labels, so no tool of this package wrote it"
        raise UnreadableRun(run / "config.yaml", reason)
    environment = config.pop("environment")
    texts = [name for name, kind in TABLES["metrics.csv"].items() if kind is str]
    numbers = [name for name in (rows[0] if rows else ()) if name not in texts]
    metrics = {name: [row[name] for row in rows] for name in numbers}
    reason = _progress(folder, config, summary, metrics)
    files = (folder / mark for mark in MARKS)
    times = [datetime.fromtimestamp(f.stat().st_mtime) for f in files if f.is_file()]
    spectra = (row.values() for row in run.rows("spectra.csv"))
    return {
        "state": UNFINISHED if reason else FINISHED,
        "reason": reason,
        "config": config,
        "environment": {key: str(value) for key, value in environment.items()},
        "summary": summary,
        "evaluation": run.json("linear_eval.json"),
        "probes": run.json("linear_eval_steps.json"),
        "population": run.json("population_stats.json"),
        "metrics": metrics,
        "verdicts": [(row["step"], row.get("verdict", "")) for row in rows],
        "spectra": [(int(step), values) for step, *values in spectra],
        "layers": run.rows("layers.csv"),
        "evaluations": run.rows("evaluations.csv"),
        "dates": (min(times), max(times)),
    }


def _tool_of(config: Mapping[str, Any]) -> str | None:
    """Return the tool that wrote a config.yaml, as its keys show; None if no tool wrote it."""
    if isinstance(config.get("method"), Mapping):
        return PRETRAIN
    return FINETUNE if {"labels", "evaluation"} <= config.keys() else None


def _progress(
    folder: Path,
    config: Mapping[str, Any],
    summary: Mapping[str, Any],
    metrics: Mapping[str, Sequence[Any]],
) -> str:
    """Return a line on the progress of a readable run; "" if it is finished."""
    steps = metrics.get("step", ())
    if summary and (not steps or steps[-1] <= summary["steps"]):
        return ""
    if not steps:
        return "running or interrupted: no row in metrics.csv, no summary.json"
    if _tool_of(config) == FINETUNE:
        far = f"step {steps[-1]} of {config.get('steps', '?')}"
    else:
        epochs = f"{metrics.get('epoch', [nan])[-1]:.1f} of {config.get('epochs', '?')} epochs"
        far = f"step {steps[-1]}, {epochs}"
    written = datetime.fromtimestamp((folder / "metrics.csv").stat().st_mtime)
    without = "a summary.json of an earlier step" if summary else "no summary.json"
    return f"running or interrupted: {far}, last row of {written:%Y-%m-%d %H:%M}, {without}"
