"""Checks of a training loop: tools/doctor.py."""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssl_norm.checkup import Checkup
from ssl_norm.checkup import doctor as check_loop
from ssl_norm.console import say
from ssl_norm.distributed import rank
from ssl_norm.errors import FailedChecks, UserError
from ssl_norm.registry import load_object
from ssl_norm.settings.pretrain import DoctorSettings
from ssl_norm.text import counted
from ssl_norm.train.builder import initial_encoder, load_images, naming
from ssl_norm.train.device import pick_device, process_group
from ssl_norm.train.pretrain_builder import make_training
from ssl_norm.train.step_log import StepLog


def doctor(config: DoctorSettings) -> Checkup:
    """Check a loop, and print the results with their repairs.

    Raises:
        UserError: the settings do not fit the data or the machine, or there is no such loop.
        FailedChecks: a check failed.
    """
    device = pick_device(config.device)
    with process_group(device), naming("target" if config.target else "check_steps"):
        checkup = check_loop(**(_loop(config) if config.target else _run(config, device)))
        if rank() == 0:
            say(*str(checkup).splitlines(), stderr=False)
    if checkup.failed:
        count = counted(len(checkup.failed), "check")
        raise FailedChecks(f"{count} of {len(checkup)} failed: {', '.join(checkup.failed)}")
    return checkup


def _loop(config: DoctorSettings) -> dict[str, Any]:
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` does
    found = load_object(str(config.target))()
    if not isinstance(found, dict) or not {"model", "step_fn"} <= found.keys():
        raise UserError(
            f"target={config.target}: expected a dict of arguments with model and step_fn, got "
            f"{type(found).__name__}"
        )
    return found


def _run(config: DoctorSettings, device: torch.device) -> dict[str, Any]:
    """Return the arguments for the run that tools/pretrain.py would start."""
    images = load_images(config.data, config.seed).pretrain
    run = make_training(config, initial_encoder(config)[0], images, device, None)
    run.start()
    generator, log, last = torch.Generator(), StepLog(), list[tuple[Tensor, ...]]()
    make_views, numbers = run.make_views, iter(range(config.check_steps))

    def kept(pixels: Tensor, chance: torch.Generator) -> tuple[Tensor, ...]:
        last[:] = [make_views(pixels, chance)]
        return last[0]

    def step() -> None:
        number = next(numbers)
        for group in run.optimizer.param_groups:
            group["lr"] = run.learning_rate(number)
        run.train_step(number, generator, log)

    run.make_views = kept
    return {
        "model": run.network,
        "step_fn": step,
        "optimizer": run.optimizer,
        "views": lambda: last[0],
        "steps": config.check_steps,
    }
