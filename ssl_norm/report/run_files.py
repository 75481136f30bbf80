"""The files of a run folder as plain containers; what is wrong with one is said in one line that names it."""

import csv
import json
from collections.abc import Mapping
from math import isfinite, nan
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # PyYAML, which omegaconf brings

PRETRAIN, FINETUNE = "pretrain", "finetune"
TEXTS = (
    "split",
    "domain",
    "statistics",
    "statistics_from",
)  # of evaluations.csv, all else are numbers


class UnreadableRun(ValueError):
    """A file of a run folder does not hold what it should; the text names the file."""


def read_config(path: Path) -> dict[str, Any]:
    """Return config.yaml as nested plain containers."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UnreadableRun("there is no config.yaml") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UnreadableRun(f"config.yaml cannot be read: {first_line(error)}") from error
    if not isinstance(content, dict) or tool_of(content) is None:
        raise UnreadableRun(
            "config.yaml names no method and no labels; it is not of tools/pretrain.py or tools/finetune.py"
        )
    if not isinstance(content.setdefault("environment", {}), dict):
        raise UnreadableRun("config.yaml: environment holds no keys")
    return content


def tool_of(config: Mapping[str, Any]) -> str | None:
    """Return the tool that wrote a config.yaml, by the keys that only it has; None for another file."""
    if isinstance(config.get("method"), Mapping):
        return PRETRAIN
    return FINETUNE if {"labels", "evaluation"} <= config.keys() else None


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


def read_evaluations(path: Path) -> list[dict[str, str | float]]:
    """Return the rows of evaluations.csv: an empty text is empty, an empty number NaN."""
    return [
        {name: cell if name in TEXTS else number(path, name, cell) for name, cell in row.items()}
        for row in read_rows(path)
    ]


def read_course(path: Path) -> dict[str, Any]:
    """Return linear_eval_steps.json, an empty object where there is no file."""
    content = read_json(path)
    rows = content.get("steps", [])
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and type(row.get("step")) is int for row in rows
    ):
        raise UnreadableRun(f"{path.name}: steps is no list of rows with a step")
    return content


def number(path: Path, name: str, cell: str) -> float:
    """Return a cell as a number, NaN where it is empty."""
    try:
        return float(cell) if cell else nan
    except ValueError as error:
        raise UnreadableRun(f"{path.name}: '{cell}' in column {name} is no number") from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text."""
    lines = (getattr(error, "strerror", None) or str(error)).splitlines()
    return str(lines[0]) if lines else type(error).__name__
