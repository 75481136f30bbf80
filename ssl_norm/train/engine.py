"""Execution of a run of both training tools: open or resume its folder, train, summarize."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

import torch
from rich.table import Table

from ssl_norm.console import say, show, warned
from ssl_norm.data.dataset import Splits
from ssl_norm.distributed import from_first_rank, only_on_first_rank, rank, world_size
from ssl_norm.errors import CollapseStop, NonFiniteLoss, UserError
from ssl_norm.train.builder import encoder_record
from ssl_norm.train.device import process_group
from ssl_norm.train.environment import describe_environment
from ssl_norm.train.loop import Run
from ssl_norm.train.progress import ProgressLine
from ssl_norm.train.recorder import RunFiles
from ssl_norm.train.run_folder import RunFolder
from ssl_norm.train.run_settings import (
    norm_names,
    open_run_folder,
    plain_config,
    shown_settings,
)

Ending = CollapseStop | NonFiniteLoss
Save = Callable[..., None]  # arguments: steps done and, if one ends the run, the CollapseStop
ENDINGS = {type(None): "done", CollapseStop: "collapse", NonFiniteLoss: "non_finite_loss"}


@dataclass(frozen=True)
class RunResult:
    """A run that ended."""

    folder: Path  # the run folder
    summary: Mapping[str, Any]  # content of summary.json; empty on ranks other than zero
    skipped: bool = False  # whether the run was already done, so nothing was trained

    @property
    def verdict(self) -> str | None:
        """The last verdict on collapse; None for a classifier."""
        return self.summary.get("verdict")

    @property
    def ended(self) -> str | None:
        """One of `done`, `collapse` and `non_finite_loss`."""
        return self.summary.get("ended")


class Task(ABC):
    """Part of a run in which pretraining and fine-tuning differ."""

    run: Run  # network and schedule, after `build`
    stop: CollapseStop | None = None  # exception of a run that was already stopped at collapse
    less_memory: ClassVar[str]  # settings that lower the need for memory, for an error message
    final_metrics: ClassVar[tuple[str, ...]]  # keys of the summary that loggers show at the end

    def __init__(self, config: Any, device: torch.device) -> None:
        self.config = config
        self.device = device

    @abstractmethod
    def build(self, checkpoint: Mapping[str, Any] | None) -> Splits:
        """Set `run`, in the state of a checkpoint if there is one, and return the images."""

    @abstractmethod
    def banner(self, folder: RunFolder) -> Iterable[str]:
        """Return the lines that are printed before the first step."""

    @abstractmethod
    def tables(self) -> dict[str, int]:
        """Return the last step whose rows are kept, by CSV file."""

    @abstractmethod
    def train(self, files: RunFiles | None, line: ProgressLine, save: Save) -> None:
        """Train to the end; only rank zero has `files`.

        Raises:
            CollapseStop: the embeddings collapsed, and `on_collapse` stops the run.
            NonFiniteLoss: the loss became NaN or infinite.
        """

    def copies(self, step: int) -> Iterator[str]:
        """Yield the names of further checkpoint files with the content of `last.pt`."""
        yield from ()

    @abstractmethod
    def summary(
        self, course: Mapping[str, Any], files: RunFiles, ending: Ending | None
    ) -> dict[str, Any]:
        """Return the content of summary.json, including the `course` of the run."""

    @abstractmethod
    def draw(self, files: RunFiles, summary: Mapping[str, Any]) -> None:
        """Write figures of the whole run."""

    @abstractmethod
    def table(self, summary: Mapping[str, Any]) -> Table:
        """Return the table that is printed at the end."""


def carry_out(task: Task, *, folder: Path | None = None) -> RunResult:
    """Train in a run folder: that of the settings, else `folder`, else runs/<date>_<name>.

    Raises:
        UserError: the configuration does not fit the data or the machine.
        CollapseStop: the embeddings collapsed, and `on_collapse` stops the run.
        NonFiniteLoss: the loss became NaN or infinite.
    """
    config = task.config
    with ExitStack() as stack, process_group(task.device):
        found = from_first_rank(lambda: open_run_folder(config, stack, folder))
        run_folder, task.stop = found.folder, found.stop
        if found.is_over:
            if task.stop:
                raise task.stop
            if rank() == 0:
                say(f"{run_folder} is done: summary.json is there; skipped")
            return RunResult(run_folder.path, run_folder.json("summary.json"), skipped=True)
        settings, machine = plain_config(config), describe_environment(task.device)
        # A resume needs config.yaml, so it is written first.
        from_first_rank(lambda: run_folder.write_config(settings, machine))
        splits = task.build(found.checkpoint)
        opened: list[RunFiles] = []

        def open_files() -> None:
            run_folder.write_images(splits.notes, splits.skipped)
            say(*task.banner(run_folder))
            opened.append(stack.enter_context(closing(_files(task, run_folder, found.checkpoint))))
            if found.checkpoint and not task.stop:
                _restore_copies(task, run_folder, found.checkpoint)

        from_first_rank(open_files)
        ending = _follow(task, run_folder, opened[0] if opened else None)
        summary: dict[str, Any] = {}

        def finish() -> None:
            summary.update(_finish(task, opened[0], ending))
            stack.close()  # now, since torchrun ends this rank as soon as another one ends

        only_on_first_rank(finish)
    if ending:
        raise ending
    return RunResult(run_folder.path, summary)


def _files(task: Task, folder: RunFolder, checkpoint: Mapping[str, Any] | None) -> RunFiles:
    """Open the files of a run, without the rows of steps that are done again."""
    tables = task.tables()
    if task.stop:  # after a rollback there are rows of later steps
        tables = dict.fromkeys(tables, int(task.stop.found["steps"]))
    written = (checkpoint or {}).get("tables")
    return RunFiles(folder, task.run.first_step, task.config.loggers, tables, written)


def _restore_copies(task: Task, folder: RunFolder, last: Mapping[str, Any]) -> None:
    """Write the copies of last.pt that were deleted, or not written because the run was killed."""
    for name in task.copies(task.run.first_step):
        if not (folder / name).exists():
            folder.save(last, name)
            say(f"{folder / name} was missing, and was restored from last.pt")


def _follow(task: Task, folder: RunFolder, files: RunFiles | None) -> Ending | None:
    """Train, write rows and checkpoints, and return the exception that ended it early."""
    run, config = task.run, task.config
    plain, is_main = plain_config(config), files is not None

    def write(step: int, stop: CollapseStop | None) -> None:
        record = encoder_record(config, run.network.encoder)  # type: ignore[arg-type]
        content = {"config": plain, "encoder_record": record, "processes": world_size()}
        content |= {"step": step, **run.state(), "tables": files.sums() if files else {}}
        content |= {"stopped": stop.state()} if stop else {}
        for name in (*task.copies(step), "last.pt"):
            folder.save(content, name)

    def save(step: int, stop: CollapseStop | None = None) -> None:
        from_first_rank(lambda: write(step, stop))

    try:
        with ProgressLine(run.first_step, run.steps, text=run.text, visible=is_main) as line:
            if files:
                files.hyperparameters(shown_settings(config), {})
            task.train(files, line, save)
    except (CollapseStop, NonFiniteLoss) as ending:
        return ending
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"{task.device} has too little memory for batch_size={config.batch_size}: "
            f"{task.less_memory}"
        ) from error
    return None


def _finish(task: Task, files: RunFiles, ending: Ending | None) -> dict[str, Any]:
    """Write summary.json and figures, print the table, and return the summary."""
    folder, summary = files.folder, task.summary(_course(task, files), files, ending)
    metrics = {name: summary[name] for name in task.final_metrics if name in summary}
    files.hyperparameters(shown_settings(task.config), metrics)
    summary["ended"] = ENDINGS[type(ending)]
    if isinstance(ending, CollapseStop):
        summary |= ending.found  # after a rollback, accuracies are those of `rolled_back_to_step`
    summary["tables"] = files.sums()
    folder.write_json("summary.json", summary)
    with warned("the figure of the run"):
        task.draw(files, summary)
    show([task.table(summary)])
    say(f"run folder: {folder}   curves: tensorboard --logdir {folder}", stderr=False)
    return summary


def _course(task: Task, files: RunFiles) -> dict[str, Any]:
    """Return the entries of summary.json that all runs have: origin, last row, median speed."""
    config, rows = task.config, files.rows("metrics.csv")
    last = {**rows[-1]} if rows else {"step": task.run.first_step}
    speeds = [float(row["images_per_second"]) for row in rows]
    return {
        "study": config.study,
        "arm": config.arm,
        "norm": norm_names(config),
        "seed": config.seed,
        "steps": last.pop("step"),
        **last,
        "images_per_second": median(speeds) if speeds else None,
    }
