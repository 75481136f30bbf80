"""From a command line to a tool: composition, checks, one-line errors and exit codes."""

import os
import sys
import traceback
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TypeVar

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from ssl_norm.cli.arguments import SWEEP_FLAGS, split_flags, take_folders
from ssl_norm.cli.command import TRAINING_TOOLS, checked_settings, command_settings
from ssl_norm.cli.help import help_text
from ssl_norm.closed_pipe import unless_pipe_closes
from ssl_norm.errors import CollapseStop, FailedChecks, NonFiniteLoss, UserError, print_error
from ssl_norm.launch import is_first_process
from ssl_norm.registry import load_object
from ssl_norm.settings.compose import forced, one_line_errors
from ssl_norm.settings.folder import CONFIG_FOLDER
from ssl_norm.train.lock import new_folder

T = TypeVar("T")
INTERRUPTED = 130
SWEEP_FOLDER = "SSL_NORM_SWEEP_FOLDER"  # variable that configs/tool.yaml reads


def main(tool: str) -> None:
    """Compose `configs/<tool>.yaml` with the command line, check it, and run the tool.

    Exit codes: 0 done, 2 wrong input, 3 stopped at collapse, 4 non-finite loss, 5 failed checks of
    `doctor`, 130 interrupted.

    Args:
        tool: a name in `ssl_norm.settings.models.MODELS`; it is run by
            `ssl_norm.commands.<tool>:<tool>`.
    """
    if isinstance(sys.stdout, TextIOWrapper):  # of any encoding, such as ASCII
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = sys.argv[1:]
    arguments = _run_or_exit(lambda: take_folders(arguments))
    if {"--help", "-h"} & set(arguments):
        chosen = dict(argument.partition("=")[::2] for argument in arguments)
        text = _run_or_exit(lambda: help_text(tool, chosen.get("method")))
        sys.exit(unless_pipe_closes(lambda _: print(text), ()))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its errors instead of printing them
    exit_codes: list[int] = []

    def job(config: DictConfig) -> None:
        code = _run_task(config, tool)
        exit_codes.append(code)
        if code and _is_in_sweep():  # this may be another process, whose list is not read
            raise _RunFailed(code)

    def compose_and_run() -> None:
        flags, settings = split_flags(arguments)
        settings = checked_settings(settings, tool, sweep=bool(SWEEP_FLAGS & set(flags)))
        named = any(setting.startswith("hydra.sweep.dir=") for setting in settings)
        if flags and set(flags) <= SWEEP_FLAGS and not named:
            os.environ[SWEEP_FOLDER] = str(new_folder(Path("multirun")))
        sys.argv[1:] = [*flags, *(forced(setting, tool) for setting in settings)]
        with one_line_errors():
            hydra.main(version_base="1.3", config_path=str(CONFIG_FOLDER), config_name=tool)(job)()

    _run_or_exit(compose_and_run)
    sys.exit(next((code for code in exit_codes if code), 0))


class _RunFailed(Exception):
    """A run of a sweep ended with an exit code other than 0, and said why."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def _run_or_exit(action: Callable[[], T]) -> T:
    """Run an action; end the process with a line and an exit code where the input is wrong."""
    try:
        return action()
    except UserError as error:
        _report(str(error))
        sys.exit(error.exit_code)
    except _RunFailed as failed:  # the first of a sweep; the other runs went on
        sys.exit(failed.exit_code)
    except OSError as error:
        _report(_of_system(error))
        sys.exit(UserError.exit_code)
    except KeyboardInterrupt:
        _report("interrupted")
        sys.exit(INTERRUPTED)


def _is_in_sweep() -> bool:
    """Return whether this run is one of several that one command started."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def typed_settings() -> list[str]:
    """Return the settings of the command line for this run, one value each in a sweep."""
    return [setting.lstrip("+") for setting in HydraConfig.get().overrides.task]


def _name_in_sweep() -> str:
    """Return the number and settings of this run of a sweep; empty for a single run."""
    if not _is_in_sweep():
        return ""
    return f"run {HydraConfig.get().job.num} ({' '.join(typed_settings())}): "


def _run_task(config: DictConfig, tool: str) -> int:
    """Check the composed settings, run the tool with them, and return the exit code."""
    try:
        with one_line_errors():
            values: Any = OmegaConf.to_container(config, resolve=True)
        settings = command_settings(tool, values, typed_settings())
        options: dict[str, Any] = {}
        if tool in TRAINING_TOOLS and _is_in_sweep():
            from ssl_norm.cli.sweep_folder import folder_in_sweep  # needs torch

            options["folder"] = folder_in_sweep(settings, typed_settings())
        load_object(f"ssl_norm.commands.{tool}:{tool}")(settings, **options)
    except (UserError, CollapseStop, NonFiniteLoss, FailedChecks) as error:
        _report(f"{_name_in_sweep()}{error}")
        return error.exit_code
    except OSError as error:
        _report(f"{_name_in_sweep()}{_of_system(error)}")
        return UserError.exit_code
    except Exception:
        if not _is_in_sweep():
            raise
        traceback.print_exc()  # now, and for every such run, not for the first at the end
        return 1
    return 0


def _report(message: str) -> None:
    """Print one line on stderr, once for all ranks."""
    if is_first_process():
        print_error(message)


def _of_system(error: OSError) -> str:
    """Return one line for a full disk, a lost mount or a file without permission."""
    where = f": {error.filename}" if error.filename else ""
    return f"{error.strerror or error}{where}"
