"""Settings of a run: its name, its norms, and the differences from an earlier run."""

import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from ssl_norm.console import say
from ssl_norm.distributed import world_size
from ssl_norm.errors import CollapseStop, UserError
from ssl_norm.models.heads import output_norm
from ssl_norm.norms import NormSpec, parse_norm
from ssl_norm.settings.finetune import FinetuneSettings
from ssl_norm.settings.pretrain import PretrainSettings
from ssl_norm.settings.resume import differences
from ssl_norm.train.lock import locked, new_folder
from ssl_norm.train.run_folder import RunFolder, UnreadableRun

RunConfig = PretrainSettings | FinetuneSettings
PARTS = ("encoder", "projector", "predictor")  # parts that may have norms
NO_SETTINGS = ("run_dir", "resume")  # without effect on the result


def norm_specs(config: RunConfig) -> dict[str, NormSpec]:
    """Return the norms of the parts, except for an encoder with its architecture's norms."""
    norms = {part: getattr(config.norm, part, None) for part in PARTS}
    return {part: parse_norm(norm) for part, norm in norms.items() if norm is not None}


def norm_names(config: RunConfig) -> dict[str, str]:
    """Return the norm of each part as text; `own` for an encoder with its architecture's norms."""
    return {"encoder": "own"} | {part: str(spec) for part, spec in norm_specs(config).items()}


def run_name(config: RunConfig) -> str:
    """Return `<method>_<norms>`, or for fine-tuning `finetune_<norm>_<n>labels`."""
    norms = "-".join(norm_names(config).values())
    if isinstance(config, PretrainSettings):
        return f"{config.method.name}_{norms}"
    if config.labels_per_class is not None:
        return f"finetune_{norms}_{config.labels_per_class}labels-per-class"
    return f"finetune_{norms}_{'all-' if config.labels == 1.0 else config.labels}labels"


def default_run_dir(config: RunConfig) -> Path:
    """Make runs/<date>_<study>_<arm>, or runs/<date>_<name of the run> outside of studies."""
    name = f"{config.study}_{config.arm}" if config.arm else run_name(config)
    return new_folder(Path("runs"), f"_{file_name(name)}")


def file_name(text: str) -> str:
    """Replace characters that are unusual in file names by `-`."""
    return re.sub(r"[^\w+.]+", "-", text)


class Opened(NamedTuple):
    """The locked folder of a run, with the state that an earlier process left."""

    folder: RunFolder
    checkpoint: Mapping[str, Any] | None = None  # checkpoint to resume from
    stop: CollapseStop | None = None  # if the run was already stopped at collapse, its exception
    is_over: bool = False  # whether the run is complete


def open_run_folder(config: RunConfig, held: ExitStack, default: Path | None = None) -> Opened:
    """Make or open the folder of a run, `run_dir` or `default`; the stack `held` keeps its lock.

    Raises:
        UserError: the folder cannot be written to, another process is writing it, it holds a run
            that would be overwritten, or the run to resume was made with other settings.
    """
    try:
        folder = RunFolder(config.run_dir or default or default_run_dir(config))
        folder.path.mkdir(parents=True, exist_ok=True)
        held.enter_context(locked(folder / ".lock", f"run_dir={folder}"))
    except OSError as error:
        place = config.run_dir or error.filename
        raise UserError(f"run_dir={place} cannot be written to: {error.strerror}") from error
    has_run = folder.has_run()
    if has_run and not config.resume:
        raise UserError(
            f"run_dir={folder} already holds a run; add resume=true to continue it, or name another"
        )
    summary = folder.json("summary.json")
    never_good = summary.get("ended", "non_finite_loss") == "non_finite_loss"
    if never_good and not (folder / "last.pt").exists():
        if config.resume and config.run_dir:
            state = (
                "has no checkpoint yet; it" if has_run else "contains no run to resume; a new one"
            )
            say(f"run_dir={folder} {state} begins")
        return Opened(folder)
    checkpoint = folder.checkpoint()
    check_same_settings(folder.path, checkpoint, config)
    stop = _earlier_stop(config, folder, checkpoint, summary)
    if stop:
        is_over = summary.get("ended") == "collapse" and summary["steps"] == stop.found["steps"]
    else:  # a sweep is resumed, in which this run may be done
        done = summary.get("ended", "done") == "done"
        is_over = bool(summary) and done and config.resume and config.run_dir is None
    return Opened(folder, checkpoint, stop, is_over)


def _earlier_stop(
    config: RunConfig,
    folder: RunFolder,
    checkpoint: Mapping[str, Any],
    summary: Mapping[str, Any],
) -> CollapseStop | None:
    """Return the collapse that ended a run before, unless the run may continue past it."""
    if not isinstance(config, PretrainSettings) or config.monitor.on_collapse in ("warn", "ignore"):
        return None
    stopped = checkpoint.get("stopped")
    reached = summary.get("rolled_back_to_step", summary.get("steps"))
    if not stopped and summary.get("ended") == "collapse" and reached == checkpoint["step"]:
        keys = ("steps", "verdict", "collapsed_at_step", "evidence", "rolled_back_to_step")
        found = {key: summary[key] for key in keys if key in summary}
        if missing := [key for key in keys[2:4] if key not in found]:
            raise UnreadableRun(folder / "summary.json", f"summary.json has no {missing[0]}")
        message = f"complete collapse since step {found['collapsed_at_step']}: {found['evidence']}"
        stopped = {"message": message, "found": found}
    if not stopped:
        return None
    go_on = f"to continue past it: run_dir={folder} resume=true monitor.on_collapse=warn"
    return CollapseStop(f"{stopped['message']}; {go_on}", stopped["found"])


def check_same_settings(folder: Path, checkpoint: Mapping[str, Any], config: RunConfig) -> None:
    """Raise UserError, with the ways to continue, if a run to resume had other settings."""
    changed = differences(type(config), checkpoint["config"], plain_config(config))
    told = [f"{key} was {old}, is {new}" for key, old, new in changed]
    same_processes = checkpoint["processes"] == world_size()
    if not same_processes and has_statistics_per_process(config):
        told.append(
            f"processes were {checkpoint['processes']}, are {world_size()} (batch norms do not share "
            "statistics over processes)"
        )
    if told:
        raise UserError(
            f"{folder} was made with other settings: {'; '.join(told)}; to continue with its "
            f"settings, give run_dir={folder} resume=true alone; for other settings start a new run"
        )


def has_statistics_per_process(config: RunConfig) -> bool:
    """Return whether any norm, including those of head outputs, mixes samples of one process."""
    specs = norm_specs(config)
    method = config.method if isinstance(config, PretrainSettings) else None
    heads = {part: getattr(method, part, None) for part in PARTS[1:]}
    outputs = [output_norm(specs[part], head.norm_output) for part, head in heads.items() if head]
    norms = [*specs.values(), *outputs]
    return any(norm.batch_statistics and not norm.options.get("sync") for norm in norms)


def plain_config(config: RunConfig) -> dict[str, Any]:
    """Return the settings as nested plain containers."""
    plain = config.model_dump(mode="json")
    plain["data"]["image_size"] = config.data.view_size
    return plain


def shown_settings(config: RunConfig) -> dict[str, Any]:
    """Return the settings for pages of hyperparameters, with norms as text."""
    settings = plain_config(config)
    settings["norm"] |= norm_names(config)
    return {key: value for key, value in settings.items() if key not in NO_SETTINGS}
