"""The accuracy over a run: a probe of every checkpoint that it kept."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from ssl_norm.commands.checkpoint_inputs import find_output, saved_config, untrained_encoder
from ssl_norm.commands.probing import evaluation_of, load_labelled, load_probed
from ssl_norm.config import LinearEvalConfig
from ssl_norm.errors import UserError
from ssl_norm.evaluate.record import probe_settings, record_name, step_record
from ssl_norm.evaluate.subject import Subject, find_subject
from ssl_norm.models.load import read_checkpoint
from ssl_norm.train.environment import describe_environment
from ssl_norm.train.run_folder import write_json

KEPT = re.compile(r"step_(\d+)\.pt")


def evaluate_kept(config: LinearEvalConfig, device: torch.device) -> None:
    """Evaluate every kept checkpoint of a run, write linear_eval_steps.json and print a table.

    Under way the steps so far are in linear_eval_steps.partial.json, so that a record of before stays whole until the
    new one is.

    Raises:
        UserError: no checkpoint was kept, one is of another run, or the data or the settings do not allow it.
    """
    folder = Path(config.checkpoint).expanduser()
    checkpoints = kept_checkpoints(folder)
    first = checkpoints[0]
    output = find_output(config.output, first, record_name("linear_eval_steps", config.network))
    partial = output.with_suffix(".partial.json")
    subject = find_subject(config, saved_config(read_checkpoint(first), first))
    train, test = load_labelled(subject)
    evaluate = evaluation_of(config, subject, train, test, device)
    environment = describe_environment(device)
    steps: list[dict[str, Any]] = []
    for step, encoder, origin in encoders(config, subject, checkpoints):
        if step in (row["step"] for row in steps):
            continue
        try:
            found = evaluate(encoder)
        except UserError as error:
            before = f"; the steps before it are in {partial}" if steps else ""
            raise UserError(f"{origin}: {error}{before}") from error
        steps.append({**step_record(step, found), "checkpoint": origin})
        steps.sort(key=lambda row: row["step"])
        record = {
            "steps": steps,
            "chance": found.chance,
            **probe_settings(config, subject, found.labels),
            "test_images": len(test),
            "run": str(folder),
            "network": config.network,
            "environment": environment,
        }
        write_json(partial, record)
    partial.replace(output)
    Console().print(steps_table(steps, found.labels))
    Console().print(f"written to {output}", highlight=False, soft_wrap=True, markup=False)


def kept_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a run folder: those that were kept in the order of their steps, then the last.

    Raises:
        UserError: it is no folder, or none was kept.
    """
    if not folder.exists():
        raise UserError(f"checkpoint={folder}: there is no such run folder")
    if not folder.is_dir():
        raise UserError(f"checkpoint={folder}: kept=true takes a run folder, with step_*.pt in it")
    found = {path: step for path in folder.iterdir() if (step := number(path)) is not None}
    kept = sorted(found, key=found.__getitem__)
    if not kept:
        raise UserError(
            f"checkpoint={folder}: no step_*.pt in it; tools/pretrain.py keeps them from where it is told "
            "keep_every=EPOCHS"
        )
    last = folder / "last.pt"
    return [*kept, last] if last.is_file() else kept


def number(checkpoint: Path) -> int | None:
    """Return the step in the name of a kept checkpoint; None for any other file."""
    match = KEPT.fullmatch(checkpoint.name)
    return int(match[1]) if match else None


def encoders(
    config: LinearEvalConfig, subject: Subject, checkpoints: Sequence[Path]
) -> Iterator[tuple[int, nn.Module, str]]:
    """Yield step, encoder and origin of each: the untrained one as step 0, then those of the checkpoints.

    The step is the checkpoint's own word; of a file of weights, the number in its name.

    Raises:
        UserError: a checkpoint has another encoder or other data than the first one.
    """
    if config.random_init:
        yield 0, untrained_encoder(subject), "random initialisation"
    for checkpoint in checkpoints:
        probed = load_probed(config, checkpoint)
        if probed.subject != subject:
            raise UserError(
                f"{checkpoint} is of another run than {checkpoints[0].name}: encoder, data or seed differ; "
                "move it out of this folder"
            )
        step = number(checkpoint) if probed.step is None else probed.step
        if step is not None:
            yield step, probed.encoder, checkpoint.name


def steps_table(steps: Sequence[dict[str, Any]], labels: int) -> Table:
    """Return a row for each step."""
    table = Table(title=f"frozen encoder over the run, {labels:,} labels", title_justify="left")
    for heading in ("step", "linear top-1", "kNN top-1", "RankMe"):
        table.add_column(heading, justify="right")
    table.add_column("encoder")
    for row in steps:
        accuracies = (f"{row[name]:.4f}" for name in ("top1", "knn_top1"))
        table.add_row(f"{row['step']:,}", *accuracies, f"{row['rank_me']:.1f}", row["checkpoint"])
    return table
