"""tools/population_stats.py: from a checkpoint to one with exact statistics, and to what they change."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from ssl_norm.commands.checkpoint_inputs import (
    FOREIGN_MATCH,
    find_checkpoint,
    find_output,
    saved_config,
    untrained_encoder,
)
from ssl_norm.commands.classifier_population import held_by_classifier, scores_of_test_images
from ssl_norm.commands.classifier_rows import domain_name
from ssl_norm.commands.population_outcome import (
    Found,
    draw_shifts,
    evaluation_table,
    population_record,
    shift_table,
)
from ssl_norm.commands.probing import evaluation_of
from ssl_norm.commands.recomputed import Recomputed, plain_views
from ssl_norm.config import PopulationStatsConfig, PretrainConfig
from ssl_norm.console import say
from ssl_norm.data.corruption.spec import parse_corruption
from ssl_norm.data.dataset import Splits
from ssl_norm.errors import UserError
from ssl_norm.evaluate.subject import Subject, find_subject, run_of_subject
from ssl_norm.models.load import load_encoder_weights, read_checkpoint
from ssl_norm.norms.batch.evaluation_statistics import (
    batch_statistics_at_evaluation,
    population_statistics_at_evaluation,
)
from ssl_norm.norms.batch.population_report import PopulationReport
from ssl_norm.norms.batch.precise_bn import recomputable
from ssl_norm.options import replace
from ssl_norm.train.builder import load_images, make_views, naming
from ssl_norm.train.checkpoint import save_checkpoint
from ssl_norm.train.device import pick_device
from ssl_norm.train.environment import describe_environment
from ssl_norm.train.population import recompute_over_images
from ssl_norm.train.restore import restore_config, restore_learner
from ssl_norm.train.run_folder import write_json

HEADINGS = {"top1": "linear top-1", "knn_top1": "kNN top-1"}


def population_stats(config: PopulationStatsConfig) -> None:
    """Write a checkpoint with exact population statistics, and what they changed.

    Raises:
        UserError: the checkpoint, the data or the settings do not allow it.
    """
    device = pick_device(config.device)
    checkpoint = find_checkpoint(config.checkpoint)
    output = find_new_checkpoint(config.output, checkpoint)
    contents = read_checkpoint(checkpoint)
    saved = saved_config(contents, checkpoint)
    subject = find_subject(config, saved)
    is_classifier = saved is not None and "classes" in contents
    if is_classifier:
        held = held_by_classifier(config, subject, contents)
    elif config.corruption is not None:
        raise UserError(
            f"corruption={config.corruption}: for classifiers of tools/finetune.py, and {checkpoint} holds none"
        )
    elif saved:
        held = held_by_run(config, subject, restore_config(saved), contents)
    else:
        held = held_by_weights(config, subject, checkpoint)
    with naming("encoder"):
        recomputable(held.encoder)
    held.network.to(device)
    splits = load_images(replace(subject.data, limit=held.limit), subject.seed)
    if is_classifier:
        evaluate = scores_of_test_images(config, subject, splits, device, contents["classes"])
    else:
        evaluate = evaluation_of_splits(config, subject, splits, device)
    with population_statistics_at_evaluation(held.encoder):
        evaluations = {"population": evaluate(held.encoder)}
    with naming("checkpoint"):
        report, samples = recompute_over_images(
            held.network,
            held.make_views,
            splits.pretrain,
            samples=config.samples,
            batch_size=config.batch_size,
            seed=config.seed,
            device=device,
            each_once=held.views == "plain",
        )
    with population_statistics_at_evaluation(held.encoder):
        evaluations["exact"] = evaluate(held.encoder)
    with naming("batch_size"), batch_statistics_at_evaluation(held.encoder):
        evaluations["batch"] = evaluate(held.encoder, random_batches=True)
    record = population_record(config, report, evaluations) | {
        "views": held.views,
        "samples": samples,
        "images": len(splits.pretrain),
        "corruption": config.corruption and domain_name(parse_corruption(config.corruption)),
        "checkpoint": str(checkpoint),
        "data": {"name": subject.data.name, "root": subject.data.root},
        "environment": describe_environment(device),
    }
    save_exact(output, held)
    beside = output.with_name("population_stats") if config.output is None else output
    write_json(beside.with_suffix(".json"), record)
    draw_shifts(report, beside.with_suffix(".png"))
    say(f"exact statistics of {samples:,} {held.views} views of {len(splits.pretrain):,} images")
    print_outcome(report, evaluations, output, beside)


def held_by_run(
    config: PopulationStatsConfig,
    subject: Subject,
    run: PretrainConfig,
    contents: Mapping[str, Any],
) -> Recomputed:
    """Return the learner of a run, which sees views as in training unless plain ones are asked for."""
    if run.norm.freeze_last_epochs:
        say(
            f"norm.freeze_last_epochs={run.norm.freeze_last_epochs}: this run ended with frozen "
            "statistics, to which its weights have adapted; exact ones may serve it worse"
        )
    same_images = (run.data.name, run.data.root) == (subject.data.name, subject.data.root)
    limit = run.data.limit if same_images else None
    run = run_of_subject(run, subject)
    learner = restore_learner(run, contents["learner"])
    views = config.views or "train"
    if views == "train":
        seen = replace(run, data=replace(run.data, image_size=subject.data.view_size))
        return Recomputed(learner, learner.encoder, make_views(seen), views, limit, contents)
    plain = partial(plain_views, subject, copies=2)
    return Recomputed(learner, learner.encoder, plain, views, limit, contents)


def held_by_weights(
    config: PopulationStatsConfig, subject: Subject, checkpoint: Path
) -> Recomputed:
    """Return the encoder of a file of weights, which sees plain images."""
    if config.views == "train":
        raise UserError(
            f"views=train: {checkpoint} is no run of this package and does not tell its "
            "augmentation; use views=plain"
        )
    encoder = untrained_encoder(subject)
    say(f"{checkpoint}: {load_encoder_weights(encoder, checkpoint, min_match=FOREIGN_MATCH)}")
    make_plain = partial(plain_views, subject, copies=1)
    return Recomputed(encoder, encoder, make_plain, "plain", None, None)


def evaluation_of_splits(
    config: PopulationStatsConfig, subject: Subject, splits: Splits, device: torch.device
) -> Callable[..., Found | None]:
    """Return the evaluation of an encoder on the labelled images; without labels it gives None."""
    if splits.train is None or splits.test is None:
        say(f"data={subject.data.name} has no labels here: statistics only, no accuracies")
        return lambda encoder, random_batches=False: None
    images = len(splits.test)
    evaluate = evaluation_of(config, subject, splits.train, splits.test, device)

    def find(encoder: nn.Module, *, random_batches: bool = False) -> Found:
        found = evaluate(encoder, random_batches=random_batches)
        values = {"top1": found.top1, "knn_top1": found.knn_top1}
        return Found("frozen encoder", images, values, HEADINGS, found.chance)

    return find


def find_new_checkpoint(given: str | None, checkpoint: Path) -> Path:
    """Return where the new checkpoint goes, by default beside the old one; its folder exists."""
    path = find_output(given, checkpoint, f"{checkpoint.stem}_exact.pt")
    if path.exists() and path.samefile(checkpoint):
        raise UserError(f"output={path} is the checkpoint itself; name another file")
    return path


def save_exact(path: Path, held: Recomputed) -> None:
    """Write a run's checkpoint with the new statistics in its learner, or an encoder's state_dict."""
    state = {name: value.cpu() for name, value in held.network.state_dict().items()}
    if held.contents is None:
        save_checkpoint(path, {"encoder": state})
    else:
        save_checkpoint(path, {**held.contents, "learner": state})


def print_outcome(
    report: PopulationReport, evaluations: Mapping[str, Found | None], output: Path, beside: Path
) -> None:
    """Print the tables, what was left alone, and where the files are."""
    console = Console()
    console.print(shift_table(report))
    trained = {name: found for name, found in evaluations.items() if found is not None}
    if trained:
        console.print(evaluation_table(trained))
    plainly = partial(console.print, highlight=False, soft_wrap=True, markup=False)
    if report.not_called:
        plainly(f"never called, as they were: {', '.join(report.not_called)}")
    for name, reason in report.not_recomputed.items():
        plainly(f"not recomputed: {name} ({reason})")
    plainly(f"written to {output}, {beside.stem}.json and {beside.stem}.png beside it")
