"""TensorBoard event files of a run: a page on collapse, pictures, verdict, hyperparameters, embeddings."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ssl_norm.figures import layer_figure, pixels, spectrum_figure
from ssl_norm.monitors.layers import LayerRow
from ssl_norm.train.tensorboard_layout import UNDRAWN_COLUMNS, layout, tag_of
from ssl_norm.train.tensorboard_text import flat_settings, verdict_markdown
from ssl_norm.train.throttle import Pace

Page = Callable[[Iterable[str]], dict[str, dict[str, list[object]]]]
HISTOGRAM_BINS = 40
EVEN_SPREAD = 1.5  # deviations of embeddings without collapse lie below
THUMBNAIL = 32  # pixels; the projector takes one sprite of at most 8192 pixels a side


class Verdict(NamedTuple):
    """A verdict at a step."""

    step: int
    word: str
    evidence: str


class TensorBoard:
    """Writes all of a run that TensorBoard shows.

    The pictures of spectrum and layers show all that this object was given; they are drawn again
    as :class:`Pace` allows, and on `close`.

    Args:
        folder: where the event files go.
        first_step: steps already done; what an interrupted run wrote about later ones is hidden.
        page: from the columns of a row to the page of charts on them.
    """

    def __init__(self, folder: Path, first_step: int, page: Page = layout) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tensorboard's own imports warn of deprecations
            from torch.utils.tensorboard import SummaryWriter
        self._writer: Any = SummaryWriter(folder, purge_step=first_step + 1)
        self._page = page
        self._has_layout = False
        self._verdict: Verdict | None = None
        self._written_verdict: Verdict | None = None
        self._spectra: list[tuple[int, NDArray[np.float32]]] = []
        self._spectrum_pace = Pace()
        self._layer_rows: list[LayerRow] = []
        self._layer_pace = Pace()

    def row(self, row: Mapping[str, float | int | str]) -> None:
        """Write the numbers of one row of metrics as scalars, and with the first row the page of charts.

        NaN, a value that was not measured, is left out.
        """
        if not self._has_layout:
            self._writer.add_custom_scalars(self._page(row))
            self._has_layout = True
        for name, value in row.items():
            is_number = isinstance(value, int | float) and not isnan(value)
            if is_number and name not in UNDRAWN_COLUMNS:
                self._writer.add_scalar(tag_of(name), value, int(row["step"]))

    def scores(self, step: int, top1: Mapping[str, float]) -> None:
        """Write accuracies by the name of what they are of, as scalars of one chart."""
        for name, value in top1.items():
            self._writer.add_scalar(f"top1/{name}", value, step)

    def verdict(self, step: int, verdict: str, evidence: str) -> None:
        """Write a verdict with its evidence as text when the word changes, and on `close` the last one."""
        self._verdict = Verdict(step, verdict, evidence)
        if self._written_verdict is None or self._written_verdict.word != verdict:
            self._write_verdict()

    def spectrum(self, step: int, eigenvalues: Sequence[float]) -> None:
        """Take the eigenvalues of the covariance of directions, (D,) descending; unless finite they are left out."""
        spectrum = np.asarray(eigenvalues, dtype=np.float32)
        if np.isfinite(spectrum).all():
            self._spectra.append((step, spectrum))
            if self._spectrum_pace.is_due(len(self._spectra)):
                self._draw_spectrum()

    def deviations(self, step: int, deviations: Sequence[float]) -> None:
        """Write the histogram of each dimension's std times sqrt(D): near 1 without collapse, 0 where it is dead.

        Bins are equally wide; values that are not finite are left out.
        """
        values = np.asarray(deviations, dtype=np.float64)
        values = values[np.isfinite(values)]
        if values.size:
            bins = np.linspace(0, max(EVEN_SPREAD, values.max()), HISTOGRAM_BINS + 1)
            self._writer.add_histogram("collapse/std_per_dimension", values, step, bins=bins)

    def layers(self, rows: Sequence[LayerRow]) -> None:
        """Take what layers measured at one or several steps."""
        self._layer_rows.extend(rows)
        if rows and self._layer_pace.is_due(len(self._layer_rows)):
            self._draw_layers()

    def views(self, grid: Tensor) -> None:
        """Write a picture (3, H, W), uint8, of what the learner sees."""
        self._writer.add_image("views", grid)

    def hyperparameters(
        self, settings: Mapping[str, Any], metrics: Mapping[str, float | None]
    ) -> None:
        """Write the line of this run on the HParams page.

        Args:
            settings: may be nested; the first ones written in a folder are those that TensorBoard shows.
            metrics: at the end of a run; scalars under `at_end`, which TensorBoard shows first. Null: not
                measured, left out. While a run goes on they are empty, and the line shows its latest row.
        """
        from torch.utils.tensorboard import summary

        summaries: Any = summary
        # Without the experiment's summary, which TensorBoard would take from any one run, it finds the columns
        # of all runs itself, those first in which they differ.
        _, start, end = summaries.hparams(flat_settings(settings), {})
        writer = self._writer._get_file_writer()
        writer.add_summary(start)
        known = {name: value for name, value in metrics.items() if value is not None}
        for name, value in known.items():
            self._writer.add_scalar(f"at_end/{name}", value)
        if known:
            writer.add_summary(end)

    def projector(
        self, features: Tensor, labels: Sequence[str] | None, thumbnails: Tensor | None
    ) -> None:
        """Write features for the Projector page (PCA, t-SNE, UMAP in the browser).

        Args:
            features: (N, D).
            labels: of each row; null: none.
            thumbnails: (N, 3, H, W), uint8, square; shrunk to at most 32 pixels a side. Null: points.
        """
        pictures = None if thumbnails is None else thumbnails.cpu().float() / 255
        if pictures is not None and pictures.shape[-1] > THUMBNAIL:
            pictures = F.interpolate(pictures, size=(THUMBNAIL, THUMBNAIL), mode="area")
        self._writer.add_embedding(
            features.detach().cpu().float(),
            list(labels) if labels else None,
            pictures,
            tag="features",
        )

    def close(self) -> None:
        """Write what is newer than the last pictures and the last verdict, and close the event file."""
        if len(self._spectra) > self._spectrum_pace.drawn:
            self._draw_spectrum()
        if len(self._layer_rows) > self._layer_pace.drawn:
            self._draw_layers()
        if self._verdict != self._written_verdict:
            self._write_verdict()
        self._writer.close()

    def _write_verdict(self) -> None:
        assert self._verdict is not None
        self._writer.add_text(
            "collapse/verdict", verdict_markdown(*self._verdict), self._verdict.step
        )
        self._written_verdict = self._verdict

    def _draw_spectrum(self) -> None:
        with self._spectrum_pace.drawing(len(self._spectra)):
            steps, spectra = zip(*self._spectra, strict=True)
            picture = pixels(spectrum_figure(steps, spectra))
            self._writer.add_image("collapse/spectrum", picture, steps[-1], dataformats="HWC")

    def _draw_layers(self) -> None:
        with self._layer_pace.drawing(len(self._layer_rows)):
            picture = pixels(layer_figure(self._layer_rows))
            step = self._layer_rows[-1].step
            self._writer.add_image("collapse/layers", picture, step, dataformats="HWC")
