"""Linear evaluation of checkpoints: tools/linear_eval.py."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch
from rich.table import Table

from ssl_norm.console import say, show
from ssl_norm.evaluate.baselines import ImageStatistics, baseline_encoders, below_floor
from ssl_norm.evaluate.checkpoint import Checkpoint
from ssl_norm.evaluate.kept import evaluate_kept, kept_checkpoints, steps_table
from ssl_norm.evaluate.protocol import Probe, ProbeImages, ProbeResult, evaluate_encoder
from ssl_norm.evaluate.record import (
    Result,
    evaluation_record,
    evaluation_table,
    find_output,
    probe_settings,
    record_name,
    writing,
)
from ssl_norm.files import write_json
from ssl_norm.settings.tools import LinearEvalSettings, ProbeSettings
from ssl_norm.train.device import pick_device
from ssl_norm.train.environment import describe_environment


def linear_eval(config: LinearEvalSettings) -> Result:
    """Evaluate a checkpoint, or all kept checkpoints of a run; write JSON and print a table.

    Raises:
        UserError: the checkpoint, the data and the settings do not fit each other.
    """
    device = pick_device(config.device)
    evaluate = _evaluate_kept if config.kept else _evaluate_one
    with ExitStack() as held:
        return evaluate(config, device, held)


def _evaluate_one(config: LinearEvalSettings, device: torch.device, held: ExitStack) -> Result:
    checkpoint = Checkpoint.read(config.checkpoint, config.model_dump())
    name = record_name("linear_eval", config.network)
    output = find_output(config.output, checkpoint.path, name)
    held.enter_context(writing(output))
    encoder, match = checkpoint.encoder(config.network)
    images = checkpoint.labelled_images(checkpoint.images())
    evaluate = evaluation_of(config, images, device)
    trained = evaluate(encoder)
    untrained = checkpoint.untrained_encoder() if config.random_init else None
    baselines = {name: evaluate(one) for name, one in baseline_encoders(untrained).items()}
    record = evaluation_record(probe_of(config), checkpoint, trained, baselines) | {
        "test_images": len(images.test),
        "checkpoint": str(checkpoint.path),
        "network": match.network,
        "step": checkpoint.step,
        "match": str(match),
        "environment": describe_environment(device),
    }
    write_json(output, record)
    _print(evaluation_table(trained, baselines), trained, baselines["image_statistics"], output)
    return Result(record, output)


def _evaluate_kept(config: LinearEvalSettings, device: torch.device, held: ExitStack) -> Result:
    """Evaluate every kept checkpoint; `*.partial.json` holds the steps so far."""
    folder = Path(config.checkpoint).expanduser()
    paths = kept_checkpoints(folder)
    first = Checkpoint.read(paths[0], config.model_dump())
    name = record_name("linear_eval_steps", config.network)
    output = find_output(config.output, first.path, name)
    held.enter_context(writing(output))
    unfinished = output.with_suffix(".partial.json")
    images = first.labelled_images(first.images())
    evaluate = evaluation_of(config, images, device)
    environment, floor = describe_environment(device), evaluate(ImageStatistics())
    kept = partial(evaluate_kept, first, paths, config.model_dump(), evaluate, unfinished)
    for steps, found in kept(network=config.network, random_init=config.random_init):
        record = {
            "steps": steps,
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
    _print(steps_table(steps, floor), found, floor, output)
    return Result(record, output)


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


def _print(table: Table, found: ProbeResult, floor: ProbeResult, output: Path) -> None:
    show([table])
    say(*below_floor(found.top1, floor.top1))
    say(f"written to {output}", stderr=False)
