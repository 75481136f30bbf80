"""tools/finetune.py: one run from configuration to summary."""

from pathlib import Path
from typing import Any

import torch

from ssl_norm.commands.dashboard import shown_settings
from ssl_norm.commands.finetune_finish import finish
from ssl_norm.commands.finetune_header import print_header
from ssl_norm.commands.finetune_images import choose_images
from ssl_norm.commands.finetune_run import make_run
from ssl_norm.commands.finetune_start import find_start
from ssl_norm.config import FinetuneConfig
from ssl_norm.console import say
from ssl_norm.errors import NonFiniteLoss, UserError
from ssl_norm.evaluate.classifier.inputs import corrupting, even_size, training_domains
from ssl_norm.evaluate.classifier.scores import TrainingImages, score_classifier
from ssl_norm.figures.accuracy import accuracies
from ssl_norm.train.builder import load_images
from ssl_norm.train.checkpoint import save_checkpoint
from ssl_norm.train.device import pick_device
from ssl_norm.train.environment import describe_environment
from ssl_norm.train.finetune_files import FinetuneFiles
from ssl_norm.train.population import asks_for_exact_statistics, make_statistics_exact
from ssl_norm.train.progress import ProgressLine, finetuning_text
from ssl_norm.train.run_folder import (
    Row,
    is_done,
    open_run_folder,
    plain_config,
    write_config,
    write_skipped,
)
from ssl_norm.train.supervised import SupervisedTraining, train_classifier


def finetune(config: FinetuneConfig) -> None:
    """Train a classifier as configured, leave a run folder, and print a short table.

    Raises:
        UserError: the configuration does not fit the data, the checkpoint or the machine.
        NonFiniteLoss: the loss became NaN or infinite.
    """
    device = pick_device(config.device)
    config, encoder = find_start(config)
    folder, checkpoint = open_run_folder(config)
    if is_done(config, folder, checkpoint):
        say(f"{folder} is done: summary.json is there; skipped")
        return
    splits = load_images(config.data, config.seed)
    images, unlabelled = choose_images(config, splits)
    run = make_run(config, encoder, images, unlabelled, device, checkpoint)
    write_config(folder, config, describe_environment(device))
    write_skipped(folder, splits.skipped)
    print_header(config, run, images, unlabelled, folder, device)
    try:
        ending = follow(config, run, images, folder, device)
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"{device} has too little memory for batch_size={config.batch_size}: lower it, and ubn.ratio of ubn, "
            "or use precision=bfloat16"
        ) from error
    finish(config, folder, run, images, ending, device)
    if ending:
        raise ending


def follow(
    config: FinetuneConfig,
    run: SupervisedTraining,
    images: TrainingImages,
    folder: Path,
    device: torch.device,
) -> NonFiniteLoss | None:
    """Train while rows, scores and checkpoints are written; return what ended the run early."""
    files = FinetuneFiles(folder, run.first_step, run.first_step == run.steps)

    def save(step: int) -> None:
        save_checkpoint(folder / "last.pt", checkpoint_content(config, run, images, step))

    def score(step: int, final: bool = False) -> None:
        rows = score_classifier(
            config,
            run.model,
            images,
            make_views=run.make_views,
            step=step,
            final=final,
            device=device,
        )
        top1 = {name: points[step] for name, points in accuracies(rows).items()}
        files.scores(rows, top1)

    with ProgressLine(run.first_step, run.steps, text=finetuning_text) as line:

        def record(row: Row) -> None:
            line.show(row)
            files.row(row)

        try:
            files.tensorboard.hyperparameters(shown_settings(config), {})
            train_classifier(run, record, score, save)
            if asks_for_exact_statistics(run.model):
                make_exact(config, run, images)
                save(run.steps)
            score(run.steps, final=True)
        except NonFiniteLoss as stop:
            return stop
        finally:
            files.close()
    return None


def make_exact(config: FinetuneConfig, run: SupervisedTraining, images: TrainingImages) -> None:
    """Replace the running statistics by exact ones of all training images, in equal parts of each domain."""
    domains = training_domains(config)
    samples, batch_size = config.evaluation.samples[0], config.evaluation.batch_sizes[0]
    make_statistics_exact(
        run.model,
        corrupting(run.make_views, domains),
        images.everything,
        samples=samples,
        batch_size=even_size(samples, batch_size, len(images.everything), len(domains)),
        seed=config.seed,
    )


def checkpoint_content(
    config: FinetuneConfig, run: SupervisedTraining, images: TrainingImages, step: int
) -> dict[str, Any]:
    """Return all that a run needs to go on after `step` steps, and all that evaluation needs."""
    return {
        "config": plain_config(config),
        "processes": 1,
        "step": step,
        "learner": run.model.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "classes": list(images.labelled.classes),
    }
