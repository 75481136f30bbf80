"""The accuracy over a run: a probe of every checkpoint that it kept."""

import re
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from ssl_norm.commands.checkpoint_inputs import find_output, untrained_encoder
from ssl_norm.commands.probing import evaluation_of, load_labelled, load_probed
from ssl_norm.config import LinearEvalConfig
from ssl_norm.errors import UserError
from ssl_norm.evaluate.report import probe_settings, step_record
from ssl_norm.models.load import read_checkpoint
from ssl_norm.train.environment import describe_environment
from ssl_norm.train.run_folder import write_json

KEPT = re.compile(r"step_(\d+)\.pt")


def evaluate_kept(config: LinearEvalConfig, device: torch.device) -> None:
    """Evaluate every kept checkpoint of a run, write linear_eval_steps.json after each, and print a table.

    The untrained encoder is step 0.

    Raises:
        UserError: there is no checkpoint that was kept, or the data or the settings do not allow it.
    """
    checkpoints = kept_checkpoints(Path(config.checkpoint).expanduser())
    first = next(iter(checkpoints.values()))
    output = find_output(config.output, first, "linear_eval_steps.json")
    subject = load_probed(config, first).subject
    train, test = load_labelled(subject)
    evaluate = evaluation_of(config, subject, train, test, device)
    steps: list[dict[str, Any]] = []
    if config.random_init:
        steps.append(step_record(0, evaluate(untrained_encoder(subject))))
    for step, checkpoint in checkpoints.items():
        found = evaluate(load_probed(config, checkpoint).encoder)
        steps.append(step_record(step, found))
        record = {
            "steps": steps,
            "chance": found.chance,
            **probe_settings(config, subject, found.labels),
            "test_images": len(test),
            "network": config.network,
            "environment": describe_environment(device),
        }
        write_json(output, record)
    Console().print(steps_table(steps, found.labels))
    Console().print(f"written to {output}", highlight=False, soft_wrap=True, markup=False)


def kept_checkpoints(folder: Path) -> dict[int, Path]:
    """Return the checkpoints of a run folder by step, in ascending order: those that were kept, and the last.

    Raises:
        UserError: it is no folder, or none was kept.
    """
    if not folder.is_dir():
        raise UserError(f"checkpoint={folder}: kept=true takes a run folder, with step_*.pt in it")
    found = {
        int(match[1]): path for path in folder.iterdir() if (match := KEPT.fullmatch(path.name))
    }
    if not found:
        raise UserError(
            f"checkpoint={folder}: no step_*.pt in it; pretraining keeps them with keep_every=EPOCHS"
        )
    last = folder / "last.pt"
    if last.is_file() and isinstance(step := read_checkpoint(last).get("step"), int):
        found.setdefault(step, last)
    return dict(sorted(found.items()))


def steps_table(steps: list[dict[str, Any]], labels: int) -> Table:
    """Return a row for each step."""
    table = Table(title=f"frozen encoder over the run, {labels:,} labels; step 0: untrained")
    for heading in ("step", "linear top-1", "kNN top-1", "RankMe"):
        table.add_column(heading, justify="right")
    for row in steps:
        table.add_row(
            f"{row['step']:,}",
            f"{row['top1']:.4f}",
            f"{row['knn_top1']:.4f}",
            f"{row['rank_me']:.1f}",
        )
    return table
