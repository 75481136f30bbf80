"""The grammar that all tools share: `key=value`, config groups, `-m` for sweeps; one-line errors, exit codes."""

import os
import re
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from ssl_norm.cli.arguments import complaint_about, unknown_option
from ssl_norm.cli.arms import TOOLS as TRAINING_TOOLS
from ssl_norm.cli.arms import choose_arms
from ssl_norm.cli.checks import check
from ssl_norm.cli.composed import register_schemas
from ssl_norm.cli.groups import CONFIG_FOLDER, groups_of
from ssl_norm.cli.help import help_text
from ssl_norm.cli.resumed import with_its_settings
from ssl_norm.errors import CollapseStop, NonFiniteLoss, UserError
from ssl_norm.launch import is_first_process
from ssl_norm.names import unknown_name

LITERAL_KEYS = (
    "data.root",
    "data.cache_dir",
    "encoder.pretrained_path",
    "checkpoint",
    "run_dir",
    "output",
    "runs",
    "title",
)


def main(config_name: str, task: str) -> None:
    """Compose `configs/<config_name>.yaml` with the command line, check it, and run the task.

    Ends the process with the exit code of DESIGN: 0 done, 2 wrong input, 3 stopped at collapse, 4 non-finite loss.

    Args:
        config_name: a file of configs/, and the root of its keys in `ssl_norm.config.SCHEMAS`.
        task: `module:function` taking the typed config; imported only once the configuration is known to be right.
    """
    arguments = sys.argv[1:]
    if {"--help", "-h"} & set(arguments):
        print(help_text(config_name))
        sys.exit(0)
    for argument in arguments:
        if complaint := complaint_about(argument, config_name):
            report(complaint)
            sys.exit(UserError.exit_code)
    arguments = [literal(argument.lstrip("+")) for argument in arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # hands exceptions to us instead of printing them
    exit_codes: list[int] = []

    def job(config: DictConfig) -> None:
        code = run_task(config, config_name, task)
        exit_codes.append(code)
        if code and is_in_sweep():  # this may be another process, whose list nobody reads
            raise RunFailed(code)

    try:
        register_schemas()
        sys.argv[1:] = (
            choose_arms(arguments, config_name) if "study" in groups_of(config_name) else arguments
        )
        hydra.main(version_base="1.3", config_path=str(CONFIG_FOLDER), config_name=config_name)(
            job
        )()
    except (ConfigCompositionException, OverrideParseException, OmegaConfBaseException) as error:
        report(one_line(error))
        sys.exit(UserError.exit_code)
    except UserError as error:
        report(str(error))
        sys.exit(error.exit_code)
    except RunFailed as failed:  # the first of a sweep; the other runs went on
        sys.exit(failed.exit_code)
    except KeyboardInterrupt:
        report("interrupted")
        sys.exit(130)
    sys.exit(next((code for code in exit_codes if code), 0))


class RunFailed(Exception):
    """A run of a sweep ended with an exit code other than 0, after it said why."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def is_in_sweep() -> bool:
    """Whether this run is one of several that one command started."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def name_in_sweep() -> str:
    """Return which of several runs this is, by its settings; nothing where it is the only one."""
    if not is_in_sweep():
        return ""
    hydra = HydraConfig.get()
    return f"run {hydra.job.num} ({' '.join(hydra.overrides.task)}): "


def run_task(config: DictConfig, tool: str, task: str) -> int:
    """Check one composed configuration, run the task on it, and return the exit code."""
    try:
        if tool in TRAINING_TOOLS:
            config = with_its_settings(config, tool, HydraConfig.get().overrides.task)
        typed = typed_config(config)
        check(typed)
        module, _, function = task.partition(":")
        run: Callable[[Any], None] = getattr(import_module(module), function)
        run(typed)
    except (UserError, CollapseStop, NonFiniteLoss) as error:
        report(f"{name_in_sweep()}{error}")
        return error.exit_code
    except OSError as error:  # a full disk, a lost mount, a file without permission
        where = f": {error.filename}" if error.filename else ""
        report(f"{name_in_sweep()}{error.strerror or error}{where}")
        return UserError.exit_code
    except Exception:
        if not is_in_sweep():
            raise
        traceback.print_exc()  # now, and not for the first such run only, at the end of the sweep
        return 1
    return 0


def typed_config(config: DictConfig) -> Any:
    """Return the configuration as its dataclass; a key that was left open is the user's to give."""
    try:
        return OmegaConf.to_object(config)
    except MissingMandatoryValue as error:
        raise UserError(f"{error.full_key}=... is needed") from error
    except OmegaConfBaseException as error:
        raise UserError(line_of_value(error)) from error


def report(message: str) -> None:
    """Print one line on stderr, once for all ranks."""
    if is_first_process():
        print(f"error: {message}", file=sys.stderr)


def literal(argument: str) -> str:
    """Quote a path or a title, so that `~`, spaces, brackets and commas reach us as the user typed them.

    Example:
        >>> literal("data.root=/photos/Rome (2024)")
        "data.root='/photos/Rome (2024)'"
    """
    key, equals, value = argument.partition("=")
    is_list = key == "runs" and value.startswith("[")
    is_literal = not is_list and (key in LITERAL_KEYS or value.startswith("~/"))
    if not equals or not is_literal or not value or value[0] in "'\"" or value == "null":
        return argument
    expanded = os.path.expanduser(value)
    if re.fullmatch(r"[A-Za-z0-9_.-]*(/[A-Za-z0-9_.-]*)+", expanded):
        return f"{key}={expanded}"  # text to Hydra as it stands
    escaped = expanded.replace("'", "\\'")
    return f"{key}='{escaped}'"


def one_line(error: Exception) -> str:
    """Return what is wrong with the command line, what is known, and the nearest match."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        return unknown_option(group, option, tuple(error.options or ()))
    if isinstance(error, OverrideParseException):
        return f"cannot read '{error.override}': expected key=value, with quotes around special characters"
    if ambiguous := re.match(r"Ambiguous value for argument '(.*)'", str(error)):
        return (
            f"{ambiguous[1]}: one value expected; a list stands in [ ], a sweep needs -m before it"
        )
    return line_of_value(error.__cause__ or error)


def line_of_value(error: BaseException) -> str:
    """Return what is wrong with one key: unknown, or a value of the wrong type."""
    key = getattr(error, "full_key", None) or ""
    parent = getattr(error, "parent_node", None)
    if isinstance(error, ConfigAttributeError | ConfigKeyError) and isinstance(parent, DictConfig):
        where, _, name = key.rpartition(".")
        known = (str(known) for known in parent if known != "hydra")
        return unknown_name(f"key of {where}" if where else "key", name, known)
    line = str(error).splitlines()[0]
    if "is not a ListConfig" in line:
        return f"{key}: a list expected, in brackets: {key}=[...]"
    if line.endswith("is not Optional"):
        return f"{key}: a value expected, got null"
    return f"{key}: {line[0].lower()}{line[1:]}" if key else line
