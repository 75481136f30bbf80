"""TensorBoard event files of a run, and their pages of charts."""

import re
import threading
import warnings
from collections.abc import Iterable, Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ssl_norm.monitors.declare import monitors_in_runs
from ssl_norm.train.loggers import Logger
from ssl_norm.train.run_folder import Row

THUMBNAIL = 32  # pixels; the projector takes one sprite of at most 8192 pixels a side
TRAIN_COLUMNS = ("loss", "lr", "train_top1", "contrastive_accuracy", "images_per_second")
UNDRAWN_COLUMNS = ("step", "epoch", "verdict")
CHARTS = {
    "loss (low alone is not progress)": ("loss",),
    "contrastive accuracy (high alone is not progress)": ("contrastive_accuracy",),
}
FINETUNING_CHARTS = {
    "test top-1 by statistics": ["^top1/"],
    "loss on training views": ["^train/loss$"],
    "top-1 on training views": ["^train/train_top1$"],
}
OTHER_MONITORS = "other monitors"

_show_error = threading.excepthook


def _leave_to_the_next_call(args: threading.ExceptHookArgs) -> None:
    """Hide errors of TensorBoard's threads, because its next call raises them again."""
    if not type(args.thread).__module__.startswith("tensorboard."):
        _show_error(args)


threading.excepthook = _leave_to_the_next_call


class TensorBoard(Logger):
    """Writes event files into the run folder; later steps of an interrupted run are hidden."""

    def __init__(self, folder: Path, first_step: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tensorboard's own imports warn of deprecations
            from torch.utils.tensorboard import SummaryWriter
        self._writer: Any = SummaryWriter(folder, purge_step=first_step + 1)
        self._has_layout = False

    def row(self, row: Row) -> None:
        """Write the numbers of a row as scalars, and at the first row the page of charts."""
        if not self._has_layout:
            self._writer.add_custom_scalars(layout(row))
            self._has_layout = True
        numbers = {
            tag_of(name): value
            for name, value in row.items()
            if name not in UNDRAWN_COLUMNS and not isinstance(value, str) and not isnan(value)
        }
        self.scalars(int(row["step"]), numbers)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write numbers by tag."""
        for tag, value in values.items():
            self._writer.add_scalar(tag, value, step)

    def text(self, name: str, step: int, text: str) -> None:
        """Write Markdown."""
        self._writer.add_text(name, text, step)

    def image(self, name: str, step: int | None, pixels: NDArray[np.uint8]) -> None:
        """Write an image (H, W, 3)."""
        self._writer.add_image(name, pixels, step, dataformats="HWC")

    def histogram(
        self, name: str, step: int, values: NDArray[np.float64], edges: NDArray[np.float64]
    ) -> None:
        """Write a histogram with bins between edges."""
        self._writer.add_histogram(name, values, step, bins=edges)

    def hyperparameters(
        self, settings: Mapping[str, float | int | str], metrics: Mapping[str, float]
    ) -> None:
        """Write the line of this run on the HParams page.

        TensorBoard shows the first settings written in a folder. Metrics are scalars under
        `at_end`, which it shows first; before there are any, the line shows the latest row.
        """
        from torch.utils.tensorboard import summary

        summaries: Any = summary
        # The experiment's summary is left out: TensorBoard would use that of any one run. Without
        # it, TensorBoard finds the columns of all runs and puts those that differ first.
        _, start, end = summaries.hparams(dict(settings), {})
        writer = self._writer._get_file_writer()
        writer.add_summary(start)
        for name, value in metrics.items():
            self._writer.add_scalar(f"at_end/{name}", value)
        if metrics:
            writer.add_summary(end)

    def embeddings(
        self, features: Tensor, labels: Sequence[str] | None, images: Tensor | None
    ) -> None:
        """Write features for the Projector page (PCA, t-SNE, UMAP in the browser).

        Square images become thumbnails of at most 32 x 32 pixels; without images there are points.
        """
        pictures = None if images is None else images.cpu().float() / 255
        if pictures is not None and pictures.shape[-1] > THUMBNAIL:
            pictures = F.interpolate(pictures, size=(THUMBNAIL, THUMBNAIL), mode="area")
        names = list(labels) if labels else None
        points = features.detach().cpu().float()
        self._writer.add_embedding(points, names, pictures, tag="features")

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


def tag_of(column: str) -> str:
    """Return the tag of a column: `train/...` for those of training, `collapse/...` for others."""
    return f"{'train' if column in TRAIN_COLUMNS else 'collapse'}/{column}"


def layout(columns: Iterable[str]) -> dict[str, dict[str, list[object]]]:
    """Return a page with the charts of a row's columns, and one chart for all other monitors.

    A chart has the same columns in every run, because TensorBoard merges only equal charts. The
    page is an argument of `SummaryWriter.add_custom_scalars`; its tags are regular expressions.
    """
    present = [column for column in columns if column not in UNDRAWN_COLUMNS]
    if "train_top1" in present:
        title, found = "finetune", FINETUNING_CHARTS
    else:
        title, found = (
            "collapse",
            {
                chart: [f"^{tag_of(name)}$" for name in names]
                for chart, names in charts().items()
                if any(name in present for name in names)
            },
        )
        charted = [name for names in charts().values() for name in names]
        if any(column not in (*charted, *TRAIN_COLUMNS) for column in present):
            known = "|".join(map(re.escape, charted))
            found[OTHER_MONITORS] = [f"^collapse/(?!({known})$)"]
    return {title: {chart: ["Multiline", tags] for chart, tags in found.items()}}


def charts() -> dict[str, tuple[str, ...]]:
    """Return the columns of each chart by title; charts of monitors come before `CHARTS`."""
    found: dict[str, tuple[str, ...]] = {}
    for name, function in monitors_in_runs().items():
        if title := function.declaration.chart:
            found[title] = (*found.get(title, ()), name)
    return found | CHARTS
