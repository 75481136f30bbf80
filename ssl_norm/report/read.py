"""One run folder as a record: what it says, and whether it is finished, unfinished or broken."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import nan
from pathlib import Path
from typing import Any

from ssl_norm.report.run_files import (
    FINETUNE,
    UnreadableRun,
    read_config,
    read_course,
    read_evaluations,
    read_json,
    read_layers,
    read_metrics,
    read_spectra,
    read_verdicts,
    tool_of,
)

MARKS = ("config.yaml", "summary.json", "metrics.csv")  # any of them makes a folder a run folder
FINISHED, UNFINISHED, BROKEN = "finished", "unfinished", "broken"


@dataclass(frozen=True)
class RunRecord:
    """What one run folder holds; parts that it lacks are empty.

    Attributes:
        folder: the run folder.
        name: how the run is called in the report, unique in it.
        state: `finished` (it wrote its summary), `unfinished` (running or interrupted) or `broken`.
        reason: why it is unfinished or broken, in one line; empty for finished runs.
        config: config.yaml less its `environment`.
        environment: commit, versions, hardware and command of the run.
        summary: summary.json.
        evaluation: linear_eval.json.
        course: linear_eval_steps.json, the probes of kept checkpoints under `steps`.
        population: population_stats.json.
        metrics: the numbers of metrics.csv by column, NaN where a cell is empty.
        verdicts: (step, verdict) of each row of metrics.csv.
        spectra: (step, eigenvalues in descending order) of each row of spectra.csv.
        layers: the rows of layers.csv.
        evaluations: the rows of evaluations.csv, numbers as numbers.
        dates: when its first and its last file were written; None where unknown.
    """

    folder: Path
    name: str
    state: str = FINISHED
    reason: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    course: Mapping[str, Any] = field(default_factory=dict)
    population: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Sequence[float]] = field(default_factory=dict)
    verdicts: Sequence[tuple[int, str]] = ()
    spectra: Sequence[tuple[int, Sequence[float]]] = ()
    layers: Sequence[Mapping[str, str]] = ()
    evaluations: Sequence[Mapping[str, str | float]] = ()
    dates: tuple[datetime, datetime] | None = None

    @property
    def seed(self) -> int | None:
        """The seed of the run; None where the config has none."""
        seed = self.config.get("seed")
        return seed if isinstance(seed, int) else None

    @property
    def tool(self) -> str | None:
        """The tool that made the run, `pretrain` or `finetune`; None where the run is broken."""
        return tool_of(self.config)


def find_runs(roots: Sequence[Path]) -> list[Path]:
    """Return the run folders among some folders and below them, each once, in the order of their names.

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
    """Return a record of each folder, called by its path below the folder that holds them all."""
    if len(folders) == 1:
        return [read_run(folders[0], folders[0].resolve().name)]
    absolute = [folder.resolve() for folder in folders]
    base = os.path.commonpath(absolute) if absolute else ""
    names = [os.path.relpath(folder, base) for folder in absolute]
    return [read_run(folder, name) for folder, name in zip(folders, names, strict=True)]


def read_run(folder: Path, name: str) -> RunRecord:
    """Return the record of one run folder; whatever is wrong with it stands in `state` and `reason`."""
    try:
        config = read_config(folder / "config.yaml")
        environment = config.pop("environment")
        metrics = read_metrics(folder / "metrics.csv")
        summary = read_json(folder / "summary.json")
        state, reason = progress(folder, config, summary, metrics)
        return RunRecord(
            folder=folder,
            name=name,
            state=state,
            reason=reason,
            config=config,
            environment={key: str(value) for key, value in environment.items()},
            summary=summary,
            evaluation=read_json(folder / "linear_eval.json"),
            course=read_course(folder / "linear_eval_steps.json"),
            population=read_json(folder / "population_stats.json"),
            metrics=metrics,
            verdicts=read_verdicts(folder / "metrics.csv"),
            spectra=read_spectra(folder / "spectra.csv"),
            layers=read_layers(folder / "layers.csv"),
            evaluations=read_evaluations(folder / "evaluations.csv"),
            dates=dates_of(folder),
        )
    except UnreadableRun as error:
        return RunRecord(folder, name, BROKEN, str(error))


def progress(
    folder: Path,
    config: Mapping[str, Any],
    summary: Mapping[str, Any],
    metrics: Mapping[str, Sequence[float]],
) -> tuple[str, str]:
    """Return the state of a readable run and, where it is not finished, how far it came."""
    steps = metrics.get("step", ())
    if summary:
        if not isinstance(last := summary.get("steps"), int):
            raise UnreadableRun("summary.json says no number of steps")
        if not steps or steps[-1] <= last:
            return FINISHED, ""
    if not steps:
        return UNFINISHED, "running or interrupted: no row in metrics.csv, no summary.json"
    if tool_of(config) == FINETUNE:
        far = f"step {steps[-1]:.0f} of {config.get('steps', '?')}"
    else:
        epochs = f"{metrics.get('epoch', [nan])[-1]:.1f} of {config.get('epochs', '?')} epochs"
        far = f"step {steps[-1]:.0f}, {epochs}"
    written = datetime.fromtimestamp((folder / "metrics.csv").stat().st_mtime)
    without = "a summary.json of an earlier step" if summary else "no summary.json"
    return UNFINISHED, (
        f"running or interrupted: {far}, last row of {written:%Y-%m-%d %H:%M}, {without}"
    )


def dates_of(folder: Path) -> tuple[datetime, datetime]:
    """Return when the first and the last file that the report reads was written."""
    files = [folder / mark for mark in MARKS if (folder / mark).is_file()]
    times = [datetime.fromtimestamp(file.stat().st_mtime) for file in files]
    return min(times), max(times)
