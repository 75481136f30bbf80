"""TensorBoard event files of a run."""

import threading
import warnings
from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ssl_norm.train.loggers import Logger
from ssl_norm.train.run_folder import Row
from ssl_norm.train.tensorboard.layout import UNDRAWN_COLUMNS, layout, tag_of

THUMBNAIL = 32  # pixels; the projector takes one sprite of at most 8192 pixels a side

_show_error = threading.excepthook


def _leave_to_the_next_call(args: threading.ExceptHookArgs) -> None:
    """Hide errors of TensorBoard's threads, which its next call raises again."""
    if not type(args.thread).__module__.startswith("tensorboard."):
        _show_error(args)


threading.excepthook = _leave_to_the_next_call


class TensorBoard(Logger):
    """Writes event files into the run folder; later steps of an interrupted run are hidden.

    Args:
        folder: of the run.
        first_step: steps already done.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tensorboard's own imports warn of deprecations
            from torch.utils.tensorboard import SummaryWriter
        self._writer: Any = SummaryWriter(folder, purge_step=first_step + 1)
        self._has_layout = False

    def row(self, row: Row) -> None:
        """Write the numbers of a row as scalars, and with the first row the page of charts."""
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
        """Write a picture (H, W, 3)."""
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

        TensorBoard shows the first settings written in a folder. Metrics are scalars
        under `at_end`, which it shows first; while there are none, the line shows the latest row.
        """
        from torch.utils.tensorboard import summary

        summaries: Any = summary
        # TensorBoard would take the experiment's summary from any one run. Without one, it finds
        # the columns of all runs itself and puts differing ones first.
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
