"""One run folder as a record: what it says, and whether it is finished, unfinished or broken."""

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite, nan
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # PyYAML, which omegaconf brings

MARKS = ("config.yaml", "summary.json", "metrics.csv")  # any of them makes a folder a run folder
FINISHED, UNFINISHED, BROKEN = "finished", "unfinished", "broken"


class UnreadableRun(ValueError):
    """A file of a run folder does not hold what it should; the text names the file."""


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
        metrics: the numbers of metrics.csv by column, NaN where a cell is empty.
        verdicts: (step, verdict) of each row of metrics.csv.
        spectra: (step, eigenvalues in descending order) of each row of spectra.csv.
        layers: the rows of layers.csv.
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
    metrics: Mapping[str, Sequence[float]] = field(default_factory=dict)
    verdicts: Sequence[tuple[int, str]] = ()
    spectra: Sequence[tuple[int, Sequence[float]]] = ()
    layers: Sequence[Mapping[str, str]] = ()
    dates: tuple[datetime, datetime] | None = None

    @property
    def seed(self) -> int | None:
        """The seed of the run; None where the config has none."""
        seed = self.config.get("seed")
        return seed if isinstance(seed, int) else None


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
            metrics=metrics,
            verdicts=read_verdicts(folder / "metrics.csv"),
            spectra=read_spectra(folder / "spectra.csv"),
            layers=read_layers(folder / "layers.csv"),
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
    epochs = f"{metrics.get('epoch', [nan])[-1]:.1f} of {config.get('epochs', '?')} epochs"
    written = datetime.fromtimestamp((folder / "metrics.csv").stat().st_mtime)
    without = "a summary.json of an earlier step" if summary else "no summary.json"
    return UNFINISHED, (
        f"running or interrupted: step {steps[-1]:.0f}, {epochs}, last row of {written:%Y-%m-%d %H:%M}, {without}"
    )


def read_config(path: Path) -> dict[str, Any]:
    """Return config.yaml as nested plain containers."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UnreadableRun("there is no config.yaml") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UnreadableRun(f"config.yaml cannot be read: {first_line(error)}") from error
    if not isinstance(content, dict) or not isinstance(content.get("method"), dict):
        raise UnreadableRun("config.yaml names no method; it is not of tools/pretrain.py")
    if not isinstance(content.setdefault("environment", {}), dict):
        raise UnreadableRun("config.yaml: environment holds no keys")
    return content


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object, an empty one where there is no file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UnreadableRun(f"{path.name} cannot be read: {first_line(error)}") from error
    if not isinstance(content, dict):
        raise UnreadableRun(f"{path.name} holds no object")
    return content


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file; a last line cut short by a kill is left out, no file has no rows."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise UnreadableRun(f"{path.name} cannot be read: {first_line(error)}") from error
    rows = list(csv.DictReader(line for line in lines if line.endswith("\n")))
    for row in rows:
        if None in row or None in row.values() or "step" not in row:
            raise UnreadableRun(f"{path.name}: a row does not fit the columns of the first line")
    return rows


def read_metrics(path: Path) -> dict[str, list[float]]:
    """Return the numeric columns of metrics.csv."""
    rows = read_rows(path)
    names = [name for name in (rows[0] if rows else ()) if name != "verdict"]
    return {name: [number(path, name, row[name]) for row in rows] for name in names}


def read_verdicts(path: Path) -> list[tuple[int, str]]:
    """Return (step, verdict) of each row of metrics.csv."""
    rows = read_rows(path)
    return [(int(number(path, "step", row["step"])), row.get("verdict", "")) for row in rows]


def read_spectra(path: Path) -> list[tuple[int, list[float]]]:
    """Return (step, eigenvalues) of each row of spectra.csv."""
    spectra = []
    for row in read_rows(path):
        step, *values = (number(path, name, cell) for name, cell in row.items())
        if not isfinite(step):
            raise UnreadableRun(f"{path.name}: a row has no step")
        spectra.append((int(step), values))
    return spectra


def read_layers(path: Path) -> list[dict[str, str]]:
    """Return the rows of layers.csv, each with a layer and otherwise numbers."""
    rows = read_rows(path)
    for row in rows:
        if "layer" not in row or not row["step"].isdecimal():
            raise UnreadableRun(f"{path.name}: a row has no layer or no step")
        for name in row.keys() - {"layer"}:
            number(path, name, row[name])
    return rows


def number(path: Path, name: str, cell: str) -> float:
    """Return a cell as a number, NaN where it is empty."""
    try:
        return float(cell) if cell else nan
    except ValueError as error:
        raise UnreadableRun(f"{path.name}: '{cell}' in column {name} is no number") from error


def dates_of(folder: Path) -> tuple[datetime, datetime]:
    """Return when the first and the last file that the report reads was written."""
    files = [folder / mark for mark in MARKS if (folder / mark).is_file()]
    times = [datetime.fromtimestamp(file.stat().st_mtime) for file in files]
    return min(times), max(times)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text."""
    lines = (getattr(error, "strerror", None) or str(error)).splitlines()
    return str(lines[0]) if lines else type(error).__name__
