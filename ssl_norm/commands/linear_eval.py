"""Linear evaluation of checkpoints: tools/linear_eval.py."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import nn

from ssl_norm.console import say, show
from ssl_norm.errors import UserError
from ssl_norm.evaluate.baselines import (
    BASELINES,
    ImageStatistics,
    evaluate_with_baselines,
    warn_below_floor,
)
from ssl_norm.evaluate.checkpoint import Checkpoint
from ssl_norm.evaluate.protocol import Probe, ProbeImages, ProbeResult, evaluate_encoder
from ssl_norm.evaluate.record import (
    Result,
    evaluation_record,
    evaluation_table,
    opened,
    probe_settings,
)
from ssl_norm.files import write_json
from ssl_norm.settings.tools import LinearEvalSettings, ProbeSettings
from ssl_norm.train.environment import describe_environment

KEPT = re.compile(r"step_(\d+)\.pt")


def linear_eval(config: LinearEvalSettings) -> Result:
    """Evaluate a checkpoint, or all kept checkpoints of a run; write JSON and print a table.

    Raises:
        UserError: the checkpoint, the data and the settings do not fit each other.
    """
    return _evaluate_kept(config) if config.kept else _evaluate_one(config)


def _evaluate_one(config: LinearEvalSettings) -> Result:
    with opened(config, partial(_name, config, "linear_eval")) as (checkpoint, output, device):
        encoder, match = checkpoint.encoder(config.network)
        images = checkpoint.labelled_images(checkpoint.images())
        untrained = checkpoint.untrained_encoder() if config.random_init else None
        found = evaluate_with_baselines(evaluation_of(config, images, device), encoder, untrained)
        record = evaluation_record(probe_of(config), checkpoint, found) | {
            "test_images": len(images.test),
            "checkpoint": str(checkpoint.path),
            "network": match.network,
            "step": checkpoint.step,
            "match": str(match),
            "environment": describe_environment(device),
        }
        write_json(output, record)
        return _shown(evaluation_table(found), record, output)


def _evaluate_kept(config: LinearEvalSettings) -> Result:
    """Evaluate every kept checkpoint; `*.partial.json` holds the steps so far."""
    folder = Path(config.checkpoint).expanduser()
    paths = kept_checkpoints(folder)
    name = partial(_name, config, "linear_eval_steps")
    with opened(config, name, paths[0]) as (first, output, device):
        unfinished = output.with_suffix(".partial.json")
        images = first.labelled_images(first.images())
        evaluate = evaluation_of(config, images, device)
        environment, floor = describe_environment(device), evaluate(ImageStatistics())
        steps: dict[int, dict[str, Any]] = {}  # in the order of evaluation
        for step, encoder, origin in _encoders(config, first, paths):
            if step is None or step in steps:  # a step that occurs twice is evaluated once
                continue
            try:
                found = evaluate(encoder)
            except UserError as error:
                before = f"; earlier steps are in {unfinished}" if steps else ""
                raise UserError(f"{origin}: {error}{before}") from error
            steps[step] = {"step": step, **_scores(found), "checkpoint": origin}
            record = {
                "steps": [steps[number] for number in sorted(steps)],
                "chance": found.chance,
                "top1_image_statistics": floor.top1,
                "knn_top1_image_statistics": floor.knn_top1,
                **probe_settings(probe_of(config), first, found.labels),
                "test_images": len(images.test),
                "run": str(folder),
                "network": config.network,
                "environment": environment,
            }
            write_json(unfinished, record)
        unfinished.replace(output)
        warn_below_floor(found, floor)
        return _shown(steps_table(record["steps"], floor), record, output)


def _name(config: LinearEvalSettings, stem: str, _: Path) -> str:
    return f"{stem}_target.json" if config.network == "target" else f"{stem}.json"


def _shown(table: Table, record: Mapping[str, Any], output: Path) -> Result:
    show([table])
    say(f"written to {output}", stderr=False)
    return Result(record, output)


def kept_checkpoints(folder: Path) -> list[Path]:
    """Return the kept checkpoints of a run folder in the order of their steps, then last.pt.

    Raises:
        UserError: no checkpoint was kept.
    """
    found = {path: step for path in folder.glob("*.pt") if (step := _number(path)) is not None}
    if not found:
        raise UserError(
            f"checkpoint={folder}: kept=true takes a run folder with step_*.pt, and there is none; "
            "tools/pretrain.py writes them with keep_every=EPOCHS"
        )
    last = folder / "last.pt"
    return [*sorted(found, key=found.__getitem__), *[last] * last.is_file()]


def _number(path: Path) -> int | None:
    match = KEPT.fullmatch(path.name)
    return int(match[1]) if match else None


def _encoders(
    config: LinearEvalSettings, first: Checkpoint, paths: Sequence[Path]
) -> Iterator[tuple[int | None, nn.Module, str]]:
    """Yield step, encoder and origin of the random initialization, if it is wanted, and all files.

    The step of weights is that in the name of the file.
    """
    if config.random_init:
        yield 0, first.untrained_encoder(), "random initialisation"
    for path in paths:
        is_first = path == first.path
        checkpoint = first if is_first else Checkpoint.read(path, config.model_dump())
        encoder, _ = checkpoint.encoder(config.network)
        if checkpoint != first:
            raise UserError(
                f"{path} comes from another run than {first.path.name}: encoder, data or seed differ; "
                "move it out of this folder"
            )
        yield _number(path) if checkpoint.step is None else checkpoint.step, encoder, path.name


def _scores(found: ProbeResult) -> dict[str, Any]:
    names = ("top1", "top5", "knn_top1", "rank_me", "inverse_strength")
    return {name: getattr(found, name) for name in names}


def steps_table(steps: Sequence[Mapping[str, Any]], floor: ProbeResult) -> Table:
    """Return a table with a row for each step, and one for the statistics of the pixels."""
    title = f"frozen encoder over the run, {floor.labels:,} labels"
    table = Table(title=title, title_justify="left")
    for heading in ("step", "linear top-1", "kNN top-1", "RankMe"):
        table.add_column(heading, justify="right")
    table.add_column("encoder")
    last = {"step": "", **_scores(floor), "checkpoint": BASELINES["image_statistics"]}
    for row in (*steps, last):
        step = f"{row['step']:,}" if row["step"] != "" else ""
        accuracies = (f"{row[name]:.4f}" for name in ("top1", "knn_top1"))
        table.add_row(step, *accuracies, f"{row['rank_me']:.1f}", row["checkpoint"])
    return table


def probe_of(config: ProbeSettings) -> Probe:
    """Return the options of the classifiers from the settings."""
    knn, sgd = config.knn, dict(vars(config.sgd))
    return Probe(config.protocol, config.labels, knn.k, knn.temperature, sgd, config.seed)


def evaluation_of(
    config: ProbeSettings, images: ProbeImages, device: torch.device
) -> Callable[..., ProbeResult]:
    """Return a function that evaluates an encoder as the settings say."""
    return partial(
        evaluate_encoder,
        images=images,
        probe=probe_of(config),
        batch_size=config.batch_size,
        device=device,
        progress=True,
    )
