"""Results of the tools that evaluate a checkpoint: files, JSON records and tables."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from ssl_norm.errors import UserError
from ssl_norm.evaluate.baselines import BASELINES
from ssl_norm.evaluate.checkpoint import Checkpoint
from ssl_norm.evaluate.protocol import Probe, ProbeResult
from ssl_norm.train.device import pick_device
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


@contextmanager
def opened(
    config: Any, name: Callable[[Path], str], path: Path | None = None
) -> Iterator[tuple[Checkpoint, Path, torch.device]]:
    """Read the checkpoint of a tool, and lock the file of its result, which `name` names.

    Yields checkpoint, result and device; `path` overrides the setting `checkpoint`.

    Raises:
        UserError: the settings do not fit the checkpoint or the machine, or the result cannot be
            written.
    """
    device = pick_device(config.device)
    checkpoint = Checkpoint.read(path or config.checkpoint, config.model_dump())
    output = find_output(config.output, checkpoint.path, name(checkpoint.path))
    with writing(output):
        yield checkpoint, output, device


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
    with ExitStack() as held:
        if output.is_file() or not output.exists():
            lock = output.with_name(f".{output.name}.lock")
            try:
                held.enter_context(locked(lock, f"output={output}"))
            except OSError as error:
                raise UserError(
                    f"output={output} cannot be written to: {error.strerror}"
                ) from error
        yield


def evaluation_record(
    probe: Probe, checkpoint: Checkpoint, found: Mapping[str, ProbeResult]
) -> dict[str, Any]:
    """Return the settings and results of an evaluation for linear_eval.json.

    Accuracies are fractions in [0, 1]. They are null for `top5` of five classes or fewer, a class
    without test images, and a baseline that was not evaluated.
    """
    trained = found["trained"]
    return {
        **compared_scores(found),
        "per_class": trained.per_class,
        "inverse_strength": trained.inverse_strength,
        **probe_settings(probe, checkpoint, trained.labels),
    }


def compared_scores(found: Mapping[str, ProbeResult]) -> dict[str, float | None]:
    """Return the scores of an encoder and of its baselines, and chance."""
    scores: dict[str, float | None] = {"chance": found["trained"].chance}
    for name in ("top1", "top5", "knn_top1", "rank_me"):
        scores[name] = getattr(found["trained"], name)
        for baseline in BASELINES:
            scores[f"{name}_{baseline}"] = getattr(found.get(baseline), name, None)
    return scores


def probe_settings(probe: Probe, checkpoint: Checkpoint, labels: int) -> dict[str, Any]:
    """Return the settings of an evaluation."""
    norm = checkpoint.norm_spec
    return {
        "protocol": probe.protocol,
        "labels": labels,
        "label_fraction": probe.labels,
        "sgd": dict(probe.sgd) if probe.protocol == "sgd" else None,
        "knn": {"k": min(probe.k, labels), "temperature": probe.temperature},
        "encoder": checkpoint.encoder_name,
        "norm": norm and str(norm),
        "data": checkpoint.source | {"image_size": checkpoint.data.get("image_size")},
        "seed": probe.seed,
    }


def evaluation_table(found: Mapping[str, ProbeResult]) -> Table:
    """Return a table of accuracies, baselines, chance, best and worst class."""
    trained = found["trained"]
    table = Table(title=f"frozen encoder, {trained.labels:,} labels")
    table.add_column("")
    for name in (*found, "chance"):
        table.add_column(BASELINES.get(name, name), justify="right")

    def add_row(label: str, *values: float | None) -> None:
        if values[0] is not None:
            table.add_row(label, *("" if value is None else f"{value:.4f}" for value in values))

    compared = found.values()
    add_row("linear top-1", *(one.top1 for one in compared), trained.chance)
    add_row("linear top-5", *(one.top5 for one in compared), None)
    add_row("kNN top-1", *(one.knn_top1 for one in compared), trained.chance)
    present = {name: value for name, value in trained.per_class.items() if value is not None}
    ranked = sorted(present, key=present.__getitem__)
    for place, name in (("best", ranked[-1]), ("worst", ranked[0])):
        add_row(f"{place} class: {name}", *(one.per_class[name] for one in compared), None)
    return table
