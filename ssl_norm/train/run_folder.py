"""The run folder, the contract between tools: config.yaml, metrics.csv, summary.json, checkpoints."""

import csv
import json
import os
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from math import nan
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from ssl_norm.config import (
    FinetuneConfig,
    PretrainConfig,
)
from ssl_norm.console import say
from ssl_norm.distributed import world_size
from ssl_norm.errors import UserError
from ssl_norm.models.output_norm import output_norm
from ssl_norm.norms import NormSpec, parse_norm
from ssl_norm.settings.resume import differences, may_change_on_resume
from ssl_norm.text import finite_or_none
from ssl_norm.train.checkpoint import load_checkpoint

RunConfig = PretrainConfig | FinetuneConfig
PARTS = ("encoder", "projector", "predictor")  # that may have norms
TEXT_COLUMNS = ("verdict", "layer", "split", "domain", "statistics", "statistics_from")
WHOLE_COLUMNS = ("step", "samples", "batch_size", "images")


def norm_specs(config: RunConfig) -> dict[str, NormSpec]:
    """Return the norm of each part that has one of ours."""
    norms = {part: getattr(config.norm, part, None) for part in PARTS}
    return {part: parse_norm(norm) for part, norm in norms.items() if norm is not None}


def norm_names(config: RunConfig) -> dict[str, str]:
    """Return the norm of each part as text; `own` where an encoder keeps those of its architecture."""
    return {"encoder": "own"} | {part: str(spec) for part, spec in norm_specs(config).items()}


def run_name(config: RunConfig) -> str:
    """Return `<method>_<norms>`, or of fine-tuning `finetune_<norm>_<n>labels`."""
    norms = "-".join(norm_names(config).values())
    if isinstance(config, PretrainConfig):
        return f"{config.method.name}_{norms}"
    if config.labels_per_class is not None:
        return f"finetune_{norms}_{config.labels_per_class}labels-per-class"
    return f"finetune_{norms}_{'all-' if config.labels == 1.0 else config.labels}labels"


def default_run_dir(config: RunConfig) -> Path:
    """Return runs/<date>_<study>_<arm> or runs/<date>_<name of the run>, or the run's place in a sweep's folder."""
    what = run_name(config)
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        hydra = HydraConfig.get()
        number = f"{hydra.job.num:03d}_{what}_seed{config.seed}"
        return Path(hydra.sweep.dir) / file_name(
            arm_run_name(config, [task.lstrip("+") for task in hydra.overrides.task])
            if config.arm
            else number
        )
    if config.arm:
        what = f"{config.study}_{config.arm}"
    return Path("runs") / f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{file_name(what)}"


def arm_run_name(config: RunConfig, typed: Sequence[str]) -> str:
    """Return the arm, the settings that were typed and make a difference, and the seed.

    Without the number of the run, which depends on what else is in the sweep: so a sweep that goes on, perhaps with
    more seeds, finds its runs.
    """
    keys = {setting: setting.partition("=")[0] for setting in typed}
    differing = [
        setting
        for setting, key in keys.items()
        if key not in ("study", "arm", "seed") and not may_change_on_resume(type(config), key)
    ]
    return "_".join([str(config.arm), *differing, f"seed{config.seed}"])


def file_name(text: str) -> str:
    """Return a text without what a file's name should not have."""
    return re.sub(r"[^\w+.]+", "-", text)


def open_run_folder(config: RunConfig) -> tuple[Path, Mapping[str, Any] | None]:
    """Return the folder of this run, made if need be, and the checkpoint to go on from where it resumes one.

    Raises:
        UserError: the folder cannot be written to, it holds a run that would be overwritten, or the run to resume was
            made with other settings, which are told.
    """
    folder = Path(config.run_dir).expanduser() if config.run_dir else default_run_dir(config)
    last = folder / "last.pt"
    if last.exists() and not config.resume:
        raise UserError(
            f"run_dir={folder} already holds a run; add resume=true to go on, or name another"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        raise UserError(f"run_dir={folder} cannot be written to: {error.strerror}") from error
    if not last.exists():
        if config.resume and config.run_dir:
            say(f"run_dir={folder} holds no run to resume; a new one begins")
        return folder, None
    checkpoint = load_checkpoint(last)
    check_same_settings(folder, checkpoint, config)
    return folder, checkpoint


def check_same_settings(folder: Path, checkpoint: Mapping[str, Any], config: RunConfig) -> None:
    """Raise UserError, which says how to go on, where a run is to be resumed with other settings than it had."""
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
            f"{folder} was made with other settings: {'; '.join(told)}; to go on with those it was made with, give "
            f"run_dir={folder} resume=true alone; for other settings start a new run"
        )


def is_done(config: RunConfig, folder: Path, checkpoint: Mapping[str, Any] | None) -> bool:
    """Whether this is a run that a sweep which goes on has nothing to add to."""
    in_sweep = config.resume and config.run_dir is None
    return in_sweep and checkpoint is not None and (folder / "summary.json").exists()


def has_statistics_per_process(config: RunConfig) -> bool:
    """Whether any norm of a run, those after the heads' outputs too, mixes the samples of one process only."""
    specs = norm_specs(config)
    method = config.method if isinstance(config, PretrainConfig) else None
    heads = {part: getattr(method, part, None) for part in PARTS[1:]}
    outputs = [output_norm(specs[part], head.norm_output) for part, head in heads.items() if head]
    norms = [*specs.values(), *outputs]
    return any(norm.batch_statistics and not norm.options.get("sync") for norm in norms)


def plain_config(config: RunConfig) -> dict[str, Any]:
    """Return the configuration as nested plain containers."""
    plain = config.model_dump(mode="json")
    plain["data"]["image_size"] = config.data.view_size
    return plain


def write_text(path: Path, text: str) -> None:
    """Write a small file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    os.replace(temporary, path)


def write_config(folder: Path, config: RunConfig, environment: Mapping[str, str]) -> None:
    """Write config.yaml: the resolved configuration and what the result depends on beyond it."""
    content = {**plain_config(config), "environment": dict(environment)}
    write_text(folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(content)))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all; numbers that JSON has no word for, NaN and infinities, are null."""
    write_text(path, json.dumps(finite_or_none(content), indent=2, allow_nan=False) + "\n")


def write_skipped(folder: Path, paths: Sequence[str]) -> None:
    """Write skipped.txt, the files that did not decode, where there are any."""
    if paths:
        write_text(folder / "skipped.txt", "\n".join(paths) + "\n")


Row = dict[str, float | int | str]


class StepTable:
    """A CSV file whose rows begin with a step, appended and flushed; opened at a step, later rows are dropped.

    Attributes:
        path: metrics.csv, spectra.csv, layers.csv or evaluations.csv of a run folder.
    """

    def __init__(self, path: Path, last_step: int) -> None:
        self.path = path
        rows = [row for row in read_metrics(path) if int(row["step"]) <= last_step]
        self._columns = list(rows[0]) if rows else []
        lines = [",".join(map(str, row)) for row in [*rows[:1], *(row.values() for row in rows)]]
        write_text(path, "".join(f"{line}\n" for line in lines))

    def append(self, *rows: Row) -> None:
        """Add rows; the first row of all names the columns.

        A resumed run keeps the columns that it began with: a monitor added since then is left out
        of the file (TensorBoard shows it), one that no longer exists is NaN.
        """
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if rows and not self._columns:
                self._columns = list(rows[0])
                writer.writerow(self._columns)
            writer.writerows([row.get(column, nan) for column in self._columns] for row in rows)


class UnreadableRun(ValueError):
    """A file of a run folder does not hold what it should; the one-line text names the file."""


def read_metrics(path: Path) -> list[Row]:
    """Return the complete rows of metrics.csv or another StepTable; no file has no rows.

    A last row cut short by a kill is left out. An empty number is NaN.

    Raises:
        UnreadableRun: the file cannot be read, or a row does not fit its columns.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UnreadableRun(f"{path.name} cannot be read: {why}") from error
    rows = list(csv.DictReader(line for line in lines if line.endswith("\n")))
    for row in rows:
        if None in row or None in row.values() or "step" not in row:
            raise UnreadableRun(f"{path.name}: a row does not fit the columns of the first line")
    return [{name: typed(path, name, cell) for name, cell in row.items()} for row in rows]


def typed(path: Path, name: str, cell: str) -> float | int | str:
    """Return a cell as a number, unless its column holds text."""
    if name in TEXT_COLUMNS:
        return cell
    try:
        return int(cell) if name in WHOLE_COLUMNS else float(cell or "nan")
    except ValueError as error:
        raise UnreadableRun(f"{path.name}: '{cell}' in column {name} is no number") from error
