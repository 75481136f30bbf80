"""tools/pretrain.py: one run from configuration to summary."""

from pathlib import Path
from typing import Any

import torch

from ssl_norm.commands.dashboard import shown_settings
from ssl_norm.commands.finish import finish
from ssl_norm.commands.header import print_header
from ssl_norm.config import PretrainConfig
from ssl_norm.console import say
from ssl_norm.data.dataset import ImageSet
from ssl_norm.distributed import from_first_rank, rank, world_size
from ssl_norm.errors import CollapseStop, NonFiniteLoss, UserError
from ssl_norm.train.builder import (
    draw_views,
    initial_encoder,
    load_images,
    make_training,
)
from ssl_norm.train.checkpoint import load_checkpoint, save_checkpoint
from ssl_norm.train.device import pick_device, process_group
from ssl_norm.train.environment import describe_environment
from ssl_norm.train.loop import Training, measure_initial, train
from ssl_norm.train.population import asks_for_exact_statistics, make_statistics_exact
from ssl_norm.train.progress import ProgressLine
from ssl_norm.train.recorder import Recorder, RunFiles
from ssl_norm.train.run_folder import (
    is_done,
    open_run_folder,
    plain_config,
    write_config,
    write_skipped,
)

EXACT_SAMPLES = (
    10_000  # of population=exact; Wu & Johnson, arXiv 2105.07576, find more to change nothing
)
Ending = CollapseStop | NonFiniteLoss


def pretrain(config: PretrainConfig) -> None:
    """Pretrain as configured, leave a run folder, and print a short table.

    Raises:
        UserError: the configuration does not fit the data or the machine.
        CollapseStop: the representation collapsed while `monitor.on_collapse=stop`.
        NonFiniteLoss: the loss became NaN or infinite.
    """
    device = pick_device(config.device)
    with process_group(device):
        is_main = rank() == 0
        folder, checkpoint = from_first_rank(lambda: open_run_folder(config))
        if from_first_rank(lambda: is_done(config, folder, checkpoint)):
            if is_main:
                say(f"{folder} is done: summary.json is there; skipped")
            return
        splits = load_images(config.data, config.seed)
        encoder, replaced = initial_encoder(config)
        run = make_training(config, encoder, splits.pretrain, device, checkpoint)
        if is_main:
            write_config(folder, config, describe_environment(device))
            write_skipped(folder, splits.skipped)
            print_header(config, run, splits.pretrain, replaced, folder, device)
        try:
            ending = follow(config, run, splits.pretrain, folder, is_main)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"{device} has too little memory for batch_size={config.batch_size}: lower it and raise "
                "accumulate instead, or use precision=bfloat16"
            ) from error
    if is_main:
        finish(config, folder, run, splits, ending, device)
        if ending:
            raise ending


def follow(
    config: PretrainConfig, run: Training, images: ImageSet, folder: Path, is_main: bool
) -> Ending | None:
    """Train while rows and checkpoints are written; return what ended the run early."""

    def save(step: int) -> None:
        if not is_main:
            return
        content = checkpoint_content(config, run, step)
        save_checkpoint(folder / "last.pt", content)
        is_healthy = run.monitor.verdict == "healthy" and run.monitor.is_settled
        if config.monitor.on_collapse == "rollback" and is_healthy:
            save_checkpoint(folder / "healthy.pt", content)
        if config.keep_every and step % (config.keep_every * run.steps_per_epoch) == 0:
            save_checkpoint(folder / f"step_{step}.pt", content)

    files = RunFiles(folder, run.first_step) if is_main else None
    with ProgressLine(run.first_step, run.steps, visible=is_main) as line:
        recorder = Recorder(files, run.monitor, line, config.monitor.on_collapse)
        try:
            if files:
                files.views(draw_views(config, images))
                files.tensorboard.hyperparameters(shown_settings(config), {})
            (train if run.steps else measure_initial)(run, recorder.row, save)
            if asks_for_exact_statistics(run.learner):
                make_statistics_exact(
                    run.learner,
                    run.make_views,
                    images,
                    samples=EXACT_SAMPLES,
                    batch_size=config.batch_size,
                    seed=config.seed,
                )
                save(run.steps)
        except CollapseStop as stop:
            save(recorder.last_step)
            if is_main and config.monitor.on_collapse == "rollback":
                return roll_back(folder, run, stop)
            return stop
        except NonFiniteLoss as stop:
            return stop
        finally:
            if files:
                files.close()
    return None


def roll_back(folder: Path, run: Training, stop: CollapseStop) -> CollapseStop:
    """Put the last healthy checkpoint in the place of the collapsed one, and return the word on both."""
    healthy, last = folder / "healthy.pt", folder / "last.pt"
    if not healthy.exists():
        return CollapseStop(f"{stop}; no checkpoint was healthy, so there is none to roll back to")
    last.replace(folder / "collapsed.pt")
    healthy.replace(last)
    checkpoint = load_checkpoint(last)
    run.learner.load_state_dict(checkpoint["learner"])
    return CollapseStop(
        f"{stop}; rolled back: last.pt is the healthy checkpoint of step {checkpoint['step']} and "
        f"collapsed.pt the collapsed one; to go on with other settings: encoder.pretrained_path={last}",
        rolled_back_to=int(checkpoint["step"]),
    )


def checkpoint_content(config: PretrainConfig, run: Training, step: int) -> dict[str, Any]:
    """Return all that a run needs to go on after `step` steps, and all that evaluation needs."""
    return {
        "config": plain_config(config),
        "processes": world_size(),
        "step": step,
        "learner": run.learner.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "monitor": run.monitor.state_dict(),
    }
