"""Runs a tool from its command line, with one-line errors and exit codes."""

import logging
import os
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from functools import partial
from io import StringIO, TextIOWrapper
from pathlib import Path
from typing import Any

from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from ssl_norm.cli.arguments import check_setting, split_flags
from ssl_norm.cli.command import TRAINING_TOOLS, checked_settings, command_settings
from ssl_norm.cli.help import help_text
from ssl_norm.errors import CollapseStop, FailedChecks, NonFiniteLoss, UserError, print_error
from ssl_norm.exit_code import exit_code_of
from ssl_norm.launch import is_first_process
from ssl_norm.registry import load_object
from ssl_norm.settings.compose import forced, one_line_errors, started, typed_values
from ssl_norm.train.lock import new_folder

INTERRUPTED = 130
SWEEP_FOLDER = "SSL_NORM_SWEEP_FOLDER"  # variable that configs/tool.yaml reads


def main(tool: str) -> None:
    """Compose `configs/<tool>.yaml` with the command line, check it, and run the tool.

    Exit codes: 0 done, 2 wrong input, 3 stopped at collapse, 4 non-finite loss, 5 failed checks of
    `doctor`, 130 interrupted.
    """
    if isinstance(sys.stdout, TextIOWrapper):  # its encoding may be ASCII
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        sys.exit(_exit_code(lambda: _run_command(sys.argv[1:], tool)))
    except KeyboardInterrupt:
        _report("interrupted")
        sys.exit(INTERRUPTED)


def _run_command(arguments: Sequence[str], tool: str) -> int:
    """Run a tool, once or in a sweep, or show what the flags ask for; return the exit code."""
    flags, typed = split_flags(arguments)
    if flags.help:
        for setting in typed:
            check_setting(setting, tool)
        text = help_text(tool, typed_values(typed).get("method"))
        return exit_code_of(lambda _: print(text), ())
    settings = checked_settings(typed, tool, sweep=flags.multirun)
    overrides = [forced(setting, tool) for setting in settings]
    with started(tool, settings) as hydra:
        if flags.multirun:
            return _sweep(hydra, overrides, tool)
        if flags.cfg or flags.info or flags.hydra_help:
            return exit_code_of(lambda _: _show(hydra, flags, overrides, tool), ())
        return int(hydra.run(tool, partial(_run_task, tool=tool), overrides).return_value)


def _sweep(hydra: Hydra, overrides: list[str], tool: str) -> int:
    """Run a tool for each combination of settings; return the first exit code that is not 0."""
    if not any(setting.startswith("hydra.sweep.dir=") for setting in overrides):
        os.environ[SWEEP_FOLDER] = str(new_folder(Path("multirun")))
    settings = [*overrides, "hydra.mode=MULTIRUN"]
    batches = hydra.multirun(tool, partial(_run_task, tool=tool), settings)
    codes = [run.return_value for runs in batches for run in runs]
    if not codes:
        raise UserError("the sweep has no run; check its ranges")
    return next(filter(None, codes), 0)


def _show(hydra: Hydra, flags: Namespace, overrides: list[str], tool: str) -> None:
    logging.raiseExceptions = False  # Hydra logs to a pipe that may be closed
    printed = StringIO()
    if flags.info:
        hydra.show_info(flags.info, tool, overrides)
    elif flags.hydra_help:
        flags.overrides = overrides
        hydra.hydra_help(tool, get_args_parser(), flags)
    else:
        try:
            with redirect_stderr(printed):
                hydra.show_cfg(tool, overrides, flags.cfg, flags.package, flags.resolve)
        except SystemExit as ending:  # there is no such package
            raise UserError(printed.getvalue().strip()) from ending


def _exit_code(action: Callable[[], int], where: str = "") -> int:
    """Run an action and return its exit code, after one line if input or machine do not allow it."""
    try:
        return action()
    except (UserError, CollapseStop, NonFiniteLoss, FailedChecks) as error:
        code, message = error.exit_code, str(error)
    except OSError as error:  # a full disk, a lost mount or a file without permission
        place = f": {error.filename}" if error.filename else ""
        code, message = UserError.exit_code, f"{error.strerror or error}{place}"
    except (MemoryError, RuntimeError) as error:  # torch raises a RuntimeError of its allocator
        if not isinstance(error, MemoryError) and "DefaultCPUAllocator" not in str(error):
            raise
        found = str(error).partition("DefaultCPUAllocator: ")[2] or str(error)
        message = (
            f"out of memory{f': {found}' if found else ''}; use a smaller batch_size or images"
        )
        code = UserError.exit_code
    _report(f"{where}{message}")
    return code


def typed_settings() -> list[str]:
    """Return the typed settings of this run; in a sweep, each has the value of this run."""
    return [setting.lstrip("+") for setting in HydraConfig.get().overrides.task]


def _run_task(config: DictConfig, tool: str) -> int:
    """Check the composed settings, run the tool with them, and return the exit code."""
    in_sweep = HydraConfig.get().mode == RunMode.MULTIRUN

    def run() -> int:
        with one_line_errors():
            values: Any = OmegaConf.to_container(config, resolve=True)
        settings = command_settings(tool, values, typed_settings())
        options: dict[str, Any] = {}
        if tool in TRAINING_TOOLS and in_sweep:
            from ssl_norm.cli.sweep_folder import folder_in_sweep  # needs torch

            options["folder"] = folder_in_sweep(settings, typed_settings())
        load_object(f"ssl_norm.commands.{tool}:{tool}")(settings, **options)
        return 0

    if not in_sweep:
        return _exit_code(run)
    try:
        return _exit_code(run, f"run {HydraConfig.get().job.num} ({' '.join(typed_settings())}): ")
    except Exception:
        traceback.print_exc()  # each such run shows its error at once
        return 1


def _report(message: str) -> None:
    """Print one line on stderr, once for all ranks."""
    if is_first_process():
        print_error(message)
