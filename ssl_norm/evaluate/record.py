"""Linear evaluations as JSON records and tables."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from ssl_norm.errors import UserError
from ssl_norm.evaluate.baselines import BASELINES
from ssl_norm.evaluate.checkpoint import Checkpoint
from ssl_norm.evaluate.protocol import Probe, ProbeResult
from ssl_norm.norms import parse_norm
from ssl_norm.train.lock import locked


@dataclass(frozen=True)
class Result:
    """Result of a tool.

    Attributes:
        record: content of the JSON file.
        path: path of the JSON file.
        files: other files that were written, by kind: `picture`, `checkpoint`.
    """

    record: Mapping[str, Any]
    path: Path
    files: Mapping[str, Path] = field(default_factory=dict)


def find_output(given: str | None, checkpoint: Path, name: str) -> Path:
    """Return the path of a result, by default `name` next to the checkpoint; make its folder.

    Raises:
        UserError: the folder cannot be made or written to, or the path is that of the checkpoint.
    """
    path = checkpoint.parent if given is None else Path(given).expanduser()
    if path.is_dir():
        path = path / name
    if path.exists() and path.samefile(checkpoint):
        raise UserError(f"output={path} is the checkpoint itself; name another file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output={path}: cannot make {path.parent}: {error.strerror}") from error
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"{path.parent} cannot be written to; name another place with output=...")
    return path


@contextmanager
def writing(output: Path) -> Iterator[None]:
    """Lock a result against other processes; a device such as /dev/stdout is not locked.

    Raises:
        UserError: another process is writing it, or its folder cannot be written to.
    """
    if output.exists() and not output.is_file():
        yield
        return
    with ExitStack() as held:
        try:
            held.enter_context(locked(output.with_name(f".{output.name}.lock"), f"output={output}"))
        except OSError as error:
            raise UserError(f"output={output} cannot be written to: {error.strerror}") from error
        yield


def record_name(stem: str, network: str) -> str:
    """Return the file name of a result of the online or the target network."""
    return f"{stem}_target.json" if network == "target" else f"{stem}.json"


def evaluation_record(
    probe: Probe,
    checkpoint: Checkpoint,
    trained: ProbeResult,
    baselines: Mapping[str, ProbeResult],
) -> dict[str, Any]:
    """Return the settings and results of an evaluation for linear_eval.json.

    Accuracies are fractions in [0, 1]. They are null for `top5` of five classes or fewer, a class
    without test images, and a baseline that was not evaluated.
    """
    return {
        **compared_scores(trained, baselines),
        "per_class": trained.per_class,
        "inverse_strength": trained.inverse_strength,
        **probe_settings(probe, checkpoint, trained.labels),
    }


def compared_scores(
    trained: ProbeResult, baselines: Mapping[str, ProbeResult]
) -> dict[str, float | None]:
    """Return the scores of an encoder and of its baselines, and chance."""
    found: dict[str, float | None] = {"chance": trained.chance}
    for name in ("top1", "top5", "knn_top1", "rank_me"):
        found[name] = getattr(trained, name)
        for baseline in BASELINES:
            found[f"{name}_{baseline}"] = getattr(baselines.get(baseline), name, None)
    return found


def step_record(step: int, found: ProbeResult) -> dict[str, Any]:
    """Return the entry of one step in linear_eval_steps.json."""
    names = ("top1", "top5", "knn_top1", "rank_me", "inverse_strength")
    return {"step": step, **{name: getattr(found, name) for name in names}}


def probe_settings(probe: Probe, checkpoint: Checkpoint, labels: int) -> dict[str, Any]:
    """Return the settings of an evaluation."""
    norm = checkpoint.norm
    return {
        "protocol": probe.protocol,
        "labels": labels,
        "label_fraction": probe.labels,
        "sgd": dict(probe.sgd) if probe.protocol == "sgd" else None,
        "knn": {"k": min(probe.k, labels), "temperature": probe.temperature},
        "encoder": checkpoint.encoder_name,
        "norm": None if norm is None else str(parse_norm(norm)),
        "data": {name: checkpoint.data.get(name) for name in ("name", "root", "image_size")},
        "seed": probe.seed,
    }


def evaluation_table(trained: ProbeResult, baselines: Mapping[str, ProbeResult]) -> Table:
    """Return a table of accuracies, baselines, chance, best and worst class."""
    table = Table(title=f"frozen encoder, {trained.labels:,} labels")
    table.add_column("")
    for column in ("trained", *(BASELINES[name] for name in baselines), "chance"):
        table.add_column(column, justify="right")

    def add_row(label: str, *values: float | None) -> None:
        if values[0] is not None:
            table.add_row(label, *("" if value is None else f"{value:.4f}" for value in values))

    compared = [trained, *baselines.values()]
    add_row("linear top-1", *(one.top1 for one in compared), trained.chance)
    add_row("linear top-5", *(one.top5 for one in compared), None)
    add_row("kNN top-1", *(one.knn_top1 for one in compared), trained.chance)
    present = {name: value for name, value in trained.per_class.items() if value is not None}
    ranked = sorted(present, key=present.__getitem__)
    for place, name in (("best", ranked[-1]), ("worst", ranked[0])):
        add_row(f"{place} class: {name}", *(one.per_class[name] for one in compared), None)
    return table
