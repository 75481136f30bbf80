"""Settings of a run in plain form: its name, its norms, and what differs from an earlier run."""

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from ssl_norm.console import say
from ssl_norm.distributed import world_size
from ssl_norm.errors import UserError
from ssl_norm.models.heads import output_norm
from ssl_norm.norms import NormSpec, parse_norm
from ssl_norm.settings.finetune import FinetuneSettings
from ssl_norm.settings.pretrain import PretrainSettings
from ssl_norm.settings.resume import differences
from ssl_norm.train.run_folder import RunFolder

RunConfig = PretrainSettings | FinetuneSettings
PARTS = ("encoder", "projector", "predictor")  # that may have norms
NO_SETTINGS = ("run_dir", "resume")  # they differ between all runs and tell nothing of the result


def norm_specs(config: RunConfig) -> dict[str, NormSpec]:
    """Return the norm of each part that has one of ours."""
    norms = {part: getattr(config.norm, part, None) for part in PARTS}
    return {part: parse_norm(norm) for part, norm in norms.items() if norm is not None}


def norm_names(config: RunConfig) -> dict[str, str]:
    """Return the norm of each part as text; `own` for an encoder with those of its architecture."""
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
    """Return runs/<date>_<study>_<arm>, or runs/<date>_<name of the run> outside of studies."""
    name = f"{config.study}_{config.arm}" if config.arm else run_name(config)
    return Path("runs") / f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{file_name(name)}"


def file_name(text: str) -> str:
    """Return a text with characters that are unusual in the name of a file replaced by `-`."""
    return re.sub(r"[^\w+.]+", "-", text)


def open_run_folder(
    config: RunConfig, default: Path | None = None
) -> tuple[RunFolder, Mapping[str, Any] | None]:
    """Return the folder of this run, made if need be, and the checkpoint to go on from, if any.

    Args:
        config: of the run; `run_dir` names its folder.
        default: folder without `run_dir`; None: :func:`default_run_dir`.

    Raises:
        UserError: the folder cannot be written to, it holds a run that would be overwritten, or
            the run to resume was made with other settings.
    """
    folder = RunFolder(config.run_dir or default or default_run_dir(config))
    checkpoint = folder.claim(resume=config.resume)
    if checkpoint is not None:
        check_same_settings(folder.path, checkpoint, config)
    elif config.resume and config.run_dir:
        say(f"run_dir={folder} holds no run to resume; a new one begins")
    return folder, checkpoint


def is_done(config: RunConfig, folder: RunFolder, checkpoint: Mapping[str, Any] | None) -> bool:
    """Return whether a sweep that goes on has nothing to add to this run."""
    in_sweep = config.resume and config.run_dir is None
    return in_sweep and checkpoint is not None and (folder / "summary.json").exists()


def check_same_settings(folder: Path, checkpoint: Mapping[str, Any], config: RunConfig) -> None:
    """Raise UserError, with a way to go on, if a run to resume had other settings."""
    changed = differences(type(config), checkpoint["config"], plain_config(config))
    told = [f"{one.key} was {one.old}, is {one.new}" for one in changed]
    same_processes = checkpoint["processes"] == world_size()
    if not same_processes and has_statistics_per_process(config):
        told.append(
            f"processes, whose batch norms do not share statistics: {checkpoint['processes']} "
            f"then, {world_size()} now"
        )
    if told:
        raise UserError(
            f"{folder} was made with other settings: {'; '.join(told)}; to go on with those it "
            f"was made with, give run_dir={folder} resume=true alone; for other settings start "
            "a new run"
        )


def has_statistics_per_process(config: RunConfig) -> bool:
    """Return whether a norm, also of a head's output, mixes the samples of one process only."""
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
    """Return the settings for pages of hyperparameters, norms as text."""
    settings = plain_config(config)
    norms = settings["norm"] | norm_names(config)
    return {key: value for key, value in settings.items() if key not in NO_SETTINGS} | {
        "norm": norms
    }
