"""The page of a run in its loggers: metrics, pictures, verdict, hyperparameters, embeddings."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ssl_norm.figures import layer_figure, pixels, spectrum_figure
from ssl_norm.monitors.layers import LayerRow
from ssl_norm.text import as_typed, flatten
from ssl_norm.train.loggers import Loggers
from ssl_norm.train.run_folder import Row
from ssl_norm.train.throttle import Pace

HISTOGRAM_BINS = 40
EVEN_SPREAD = 1.5  # deviations of embeddings without collapse are below
MEANINGS = MappingProxyType(
    {
        "healthy": "Embeddings spread over many directions.",
        "dimensional": "Embeddings differ, but along few dimensions: dimensional collapse.",
        "complete": "All embeddings point in one direction: complete collapse.",
        "uncertain": "Too early to say, or between the zones of healthy and collapsed embeddings.",
    }
)


class Verdict(NamedTuple):
    """A verdict at a step."""

    step: int
    verdict: str
    evidence: str


class RunPage:
    """Shows a run in its loggers.

    The pictures of spectrum and layers show all measurements that this object was given; they are
    redrawn as :class:`Pace` allows, and on `close`.

    Args:
        loggers: of the run.
    """

    def __init__(self, loggers: Loggers) -> None:
        self._each = loggers.each
        self._verdict: Verdict | None = None
        self._written_verdict: Verdict | None = None
        self._spectra = _Record("collapse/spectrum", loggers, _spectrum_picture)
        self._layers = _Record("collapse/layers", loggers, _layer_picture)

    def row(self, row: Row) -> None:
        """Show the numbers of a row of metrics.csv."""
        self._each(lambda logger: logger.row(row))

    def scores(self, step: int, top1: Mapping[str, float]) -> None:
        """Show accuracies by the kind of statistics, in one chart."""
        self._each(lambda x: x.scalars(step, {f"top1/{name}": top1[name] for name in top1}))

    def verdict(self, step: int, verdict: str, evidence: str) -> None:
        """Show a verdict with its evidence when it changes, and on `close` the last one."""
        self._verdict = Verdict(step, verdict, evidence)
        if self._written_verdict is None or self._written_verdict.verdict != verdict:
            self._write_verdict()

    def spectrum(self, step: int, eigenvalues: Sequence[float]) -> None:
        """Take the eigenvalues of the covariance of directions, (D,) descending, if finite."""
        spectrum = np.asarray(eigenvalues, dtype=np.float32)
        if np.isfinite(spectrum).all():
            self._spectra.extend([(step, spectrum)])

    def deviations(self, step: int, deviations: Sequence[float]) -> None:
        """Show a histogram of each dimension's std times sqrt(D), of those that are finite.

        Without collapse they are near 1, and 0 where a dimension is dead. Bins are equally wide.
        """
        values = np.asarray(deviations, dtype=np.float64)
        values = values[np.isfinite(values)]
        if values.size:
            edges = np.linspace(0, max(EVEN_SPREAD, values.max()), HISTOGRAM_BINS + 1)
            name = "collapse/std_per_dimension"
            self._each(lambda logger: logger.histogram(name, step, values, edges))

    def layers(self, rows: Sequence[LayerRow]) -> None:
        """Take measurements of layers at one or several steps."""
        self._layers.extend(rows)

    def views(self, grid: Tensor) -> None:
        """Show a picture (3, H, W), uint8, of what the learner sees."""
        self._each(lambda logger: logger.image("views", None, grid.permute(1, 2, 0).numpy()))

    def hyperparameters(
        self, settings: Mapping[str, Any], metrics: Mapping[str, float | None]
    ) -> None:
        """Show the settings of a run, and its metrics.

        Args:
            settings: may be nested.
            metrics: at the end of a run; empty while it goes on. None: not measured, left out.
        """
        flat = flat_settings(settings)
        known = {name: value for name, value in metrics.items() if value is not None}
        self._each(lambda logger: logger.hyperparameters(flat, known))

    def embeddings(
        self, features: Tensor, labels: Sequence[str] | None, images: Tensor | None
    ) -> None:
        """Show features (N, D) with names of classes and images (N, 3, H, W) uint8, if any."""
        self._each(lambda logger: logger.embeddings(features, labels, images))

    def close(self) -> None:
        """Show what is newer than the last pictures and the last verdict, and close the loggers."""
        self._spectra.draw_rest()
        self._layers.draw_rest()
        if self._verdict != self._written_verdict:
            self._write_verdict()
        self._each(lambda logger: logger.close())

    def _write_verdict(self) -> None:
        found = self._verdict
        assert found is not None
        text = verdict_markdown(*found)
        self._each(lambda logger: logger.text("collapse/verdict", found.step, text))
        self._written_verdict = found


class _Record:
    """Measurements that grow during a run, and their picture."""

    def __init__(
        self,
        name: str,
        loggers: Loggers,
        draw: Callable[[Sequence[Any]], tuple[int, NDArray[np.uint8]]],
    ) -> None:
        self._name = name
        self._loggers = loggers
        self._draw = draw
        self._pace = Pace()
        self._entries: list[Any] = []

    def extend(self, entries: Sequence[Any]) -> None:
        self._entries.extend(entries)
        if entries and self._pace.is_due(len(self._entries)):
            self._show()

    def draw_rest(self) -> None:
        if len(self._entries) > self._pace.drawn:
            self._show()

    def _show(self) -> None:
        with self._pace.drawing(len(self._entries)):
            step, picture = self._draw(self._entries)
            self._loggers.each(lambda logger: logger.image(self._name, step, picture))


def _spectrum_picture(
    spectra: Sequence[tuple[int, NDArray[np.float32]]],
) -> tuple[int, NDArray[np.uint8]]:
    steps, eigenvalues = zip(*spectra, strict=True)
    return steps[-1], pixels(spectrum_figure(steps, eigenvalues))


def _layer_picture(rows: Sequence[LayerRow]) -> tuple[int, NDArray[np.uint8]]:
    return rows[-1].step, pixels(layer_figure(rows))


def verdict_markdown(step: int, verdict: str, evidence: str) -> str:
    """Return verdict, step, evidence and meaning as Markdown.

    Example:
        >>> print(verdict_markdown(40, "healthy", "negative cosine 0.21, feature std 0.84"))
        **healthy** at step 40: negative cosine 0.21, feature std 0.84
        <BLANKLINE>
        *Embeddings spread over many directions.*
    """
    found = f"**{verdict}** at step {step}" + (f": {evidence}" if evidence else "")
    advice = " docs/collapse.md tells what to do." if verdict in ("dimensional", "complete") else ""
    return f"{found}\n\n*{MEANINGS[verdict]}*{advice}"


def flat_settings(settings: Mapping[str, Any]) -> dict[str, float | int | str]:
    """Return nested settings by dotted key, as pages of hyperparameters take them.

    Numbers stay numbers, other values become text; null is left out, as an empty cell.

    Example:
        >>> flat_settings({"norm": {"encoder": "bn", "sync": True}, "seed": 1, "limit": None})
        {'norm.encoder': 'bn', 'norm.sync': 'true', 'seed': 1}
    """
    return {
        key: as_typed(value)
        if isinstance(value, bool) or not isinstance(value, int | float)
        else value
        for key, value in flatten(settings).items()
        if value is not None
    }
