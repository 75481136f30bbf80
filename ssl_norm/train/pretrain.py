"""tools/pretrain.py: one run from configuration to summary."""

from pathlib import Path
from typing import Any

from ssl_norm.config import PretrainConfig
from ssl_norm.data.image_set import ImageSet
from ssl_norm.distributed import rank
from ssl_norm.errors import CollapseStop, NonFiniteLoss
from ssl_norm.train.build import draw_views, load_images, make_encoder, make_training
from ssl_norm.train.checkpoint import save_checkpoint
from ssl_norm.train.device import pick_device, process_group
from ssl_norm.train.environment import describe_environment
from ssl_norm.train.finish import finish
from ssl_norm.train.header import print_header
from ssl_norm.train.loop import Training, train
from ssl_norm.train.progress import ProgressLine
from ssl_norm.train.recorder import Recorder
from ssl_norm.train.run_folder import open_run_folder, plain_config, write_config, write_skipped


def pretrain(config: PretrainConfig) -> None:
    """Pretrain as configured, leave a run folder, and print a short table.

    Raises:
        UserError: the configuration does not fit the data or the machine.
        CollapseStop: the representation collapsed while `monitor.on_collapse=stop`.
        NonFiniteLoss: the loss became NaN or infinite.
    """
    device = pick_device(config.device)
    with process_group(device):
        folder, checkpoint = open_run_folder(config)
        splits = load_images(config)
        encoder, replaced = make_encoder(config)
        run = make_training(config, encoder, splits.pretrain, device, checkpoint)
        is_main = rank() == 0
        if is_main:
            folder.mkdir(parents=True, exist_ok=True)
            write_config(folder, config, describe_environment(device))
            write_skipped(folder, splits.skipped)
            print_header(config, run, splits.pretrain, replaced, folder, device)
        recorder, ending = follow(config, run, splits.pretrain, folder, is_main)
    if is_main:
        finish(config, folder, run, recorder, splits, device)
    if ending:
        raise ending


def follow(
    config: PretrainConfig, run: Training, images: ImageSet, folder: Path, is_main: bool
) -> tuple[Recorder, CollapseStop | NonFiniteLoss | None]:
    """Train while rows and checkpoints are written; return where the rows went and what ended the run early."""

    def save(step: int) -> None:
        if not is_main:
            return
        content = checkpoint_content(config, run, step)
        save_checkpoint(folder / "last.pt", content)
        if config.keep_every and step % (config.keep_every * run.steps_per_epoch) == 0:
            save_checkpoint(folder / f"step_{step}.pt", content)

    with ProgressLine(run.first_step, run.steps, visible=is_main) as line:
        recorder = Recorder(
            folder if is_main else None,
            run.first_step,
            run.monitor,
            line,
            config.monitor.on_collapse,
        )
        recorder.views(draw_views(config, images))
        try:
            train(run, recorder.row, save)
        except CollapseStop as stop:
            save(int(recorder.last["step"]))
            return recorder, stop
        except NonFiniteLoss as stop:
            return recorder, stop
        finally:
            recorder.close()
    return recorder, None


def checkpoint_content(config: PretrainConfig, run: Training, step: int) -> dict[str, Any]:
    """Return all that a run needs to go on after `step` steps, and all that evaluation needs."""
    return {
        "config": plain_config(config),
        "step": step,
        "learner": run.learner.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "monitor": run.monitor.state_dict(),
    }
