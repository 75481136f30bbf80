"""Evaluation of the checkpoints that a run kept."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from rich.table import Table
from torch import nn

from ssl_norm.errors import UserError
from ssl_norm.evaluate.baselines import BASELINES
from ssl_norm.evaluate.checkpoint import Checkpoint
from ssl_norm.evaluate.protocol import ProbeResult
from ssl_norm.evaluate.record import step_record
from ssl_norm.models.load import NetworkRole

KEPT = re.compile(r"step_(\d+)\.pt")


def kept_checkpoints(folder: Path) -> list[Path]:
    """Return the kept checkpoints of a run folder in the order of their steps, then last.pt.

    Raises:
        UserError: it is not a folder, or no checkpoint was kept.
    """
    if not folder.exists():
        raise UserError(f"checkpoint={folder}: there is no such run folder")
    if not folder.is_dir():
        raise UserError(f"checkpoint={folder}: kept=true takes a run folder, with step_*.pt in it")
    found = {path: step for path in folder.iterdir() if (step := _number(path)) is not None}
    kept = sorted(found, key=found.__getitem__)
    if not kept:
        raise UserError(
            f"checkpoint={folder}: no step_*.pt in it; tools/pretrain.py writes them with "
            "keep_every=EPOCHS"
        )
    last = folder / "last.pt"
    return [*kept, last] if last.is_file() else kept


def _number(path: Path) -> int | None:
    match = KEPT.fullmatch(path.name)
    return int(match[1]) if match else None


def evaluate_kept(
    first: Checkpoint,
    paths: Sequence[Path],
    overrides: Mapping[str, Any],
    evaluate: Callable[[nn.Module], ProbeResult],
    unfinished: Path,
    *,
    network: NetworkRole,
    random_init: bool,
) -> Iterator[tuple[list[dict[str, Any]], ProbeResult]]:
    """Yield the records of all steps so far, in the order of steps, and the newest result.

    The step is read from the file or, for weights, from the name of the file. A step that occurs
    twice is evaluated once.

    Args:
        first: the first checkpoint.
        paths: all checkpoints.
        overrides: see :meth:`Checkpoint.read`.
        evaluate: function that evaluates an encoder.
        unfinished: file of the steps so far, for messages.
        network: network to use.
        random_init: start with the untrained encoder, as step 0.

    Raises:
        UserError: a checkpoint differs from the first one in encoder, data or seed, or cannot be
            evaluated; the message names its file.
    """
    records: dict[int, dict[str, Any]] = {}
    baseline = [(0, first.untrained_encoder(), "random initialisation")] if random_init else []
    for step, encoder, origin in chain(baseline, _encoders(first, paths, overrides, network)):
        if step is None or step in records:
            continue
        try:
            found = evaluate(encoder)
        except UserError as error:
            before = f"; earlier steps are in {unfinished}" if records else ""
            raise UserError(f"{origin}: {error}{before}") from error
        records[step] = step_record(step, found) | {"checkpoint": origin}
        yield [records[number] for number in sorted(records)], found


def _encoders(
    first: Checkpoint, paths: Sequence[Path], overrides: Mapping[str, Any], network: NetworkRole
) -> Iterator[tuple[int | None, nn.Module, str]]:
    """Yield step, encoder and file name of each checkpoint."""
    for path in paths:
        checkpoint = first if path == first.path else Checkpoint.read(path, overrides)
        encoder, _ = checkpoint.encoder(network)
        if checkpoint != first:
            raise UserError(
                f"{path} comes from another run than {first.path.name}: encoder, data or seed differ; "
                "move it out of this folder"
            )
        step = _number(path) if checkpoint.step is None else checkpoint.step
        yield step, encoder, path.name


def steps_table(steps: Sequence[Mapping[str, Any]], floor: ProbeResult) -> Table:
    """Return a table with a row for each step, and one for the statistics of the pixels."""
    title = f"frozen encoder over the run, {floor.labels:,} labels"
    table = Table(title=title, title_justify="left")
    for heading in ("step", "linear top-1", "kNN top-1", "RankMe"):
        table.add_column(heading, justify="right")
    table.add_column("encoder")
    rows = [(f"{row['step']:,}", row) for row in steps]
    rows.append(("", step_record(0, floor) | {"checkpoint": BASELINES["image_statistics"]}))
    for step, row in rows:
        accuracies = (f"{row[name]:.4f}" for name in ("top1", "knn_top1"))
        table.add_row(step, *accuracies, f"{row['rank_me']:.1f}", row["checkpoint"])
    return table
