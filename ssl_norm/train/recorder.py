"""Recording of the rows of a run in files, loggers and the progress line."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from ssl_norm.console import coloured, warned
from ssl_norm.errors import CollapseStop
from ssl_norm.figures import layer_figure, pixels, spectrum_figure
from ssl_norm.files import replaced
from ssl_norm.monitors import CollapseMonitor
from ssl_norm.monitors.collapse_monitor import Snapshot
from ssl_norm.monitors.layers import LayerRow
from ssl_norm.text import as_typed, flatten
from ssl_norm.train.loggers import Loggers
from ssl_norm.train.progress import ProgressLine
from ssl_norm.train.run_folder import Row, RunFolder, StepTable, Sums

REMEDIES = (
    "a norm in the heads (norm.projector=bn), a lower optimizer.lr, or method=simclr may help; "
    "docs/collapse.md has more"
)
MEANINGS = {
    "healthy": "Embeddings spread over many directions.",
    "dimensional": "Embeddings vary in few dimensions: dimensional collapse.",
    "collapsing": "Embeddings approach one direction; at this rate the collapse will be complete.",
    "complete": "All embeddings point in one direction: complete collapse.",
    "uncertain": "Too early to say, or between the zones of healthy and collapsed embeddings.",
}
WARNED = ("collapsing", "dimensional", "complete")
SPECTRUM_COLUMNS = 256
HISTOGRAM_BINS = 40
EVEN_SPREAD = 1.5  # least upper end of the histogram of deviations; without collapse they are below
KEPT = ("metrics.csv", "evaluations.csv")  # tables whose rows are needed when the run ends
SHARE = 0.01  # largest share of a run's time for drawing one figure


class _Spectrum(NamedTuple):
    """Eigenvalues of a step for the figure; the array takes an eighth of the memory of a list."""

    step: int
    values: NDArray[np.float32]


class RunFiles:
    """Tables, figures and loggers of a run, of which `first_step` steps are done.

    `tables` are the last steps whose rows are kept, by CSV file; None: the tables of a pretraining.
    `written` are the `sums` in the checkpoint, if known.
    """

    def __init__(
        self,
        folder: RunFolder,
        first_step: int,
        loggers: Sequence[str],
        tables: Mapping[str, int] | None = None,
        written: Sums | None = None,
    ) -> None:
        self.folder = folder
        if tables is None:
            tables = dict.fromkeys(("metrics.csv", "spectra.csv", "layers.csv"), first_step)
        self._tables = {
            name: StepTable(
                folder / name, last, keep=name in KEPT, written=(written or {}).get(name)
            )
            for name, last in tables.items()
        }
        self._loggers = Loggers(loggers, folder.path, first_step)
        self._spectra = _Picture(
            "collapse/spectrum",
            self._loggers,
            lambda found: spectrum_figure([s.step for s in found], [s.values for s in found]),
        )
        self._layers = _Picture("collapse/layers", self._loggers, layer_figure)
        self._verdict = self._shown_verdict = (0, "", "")  # step, verdict and evidence

    def rows(self, name: str) -> list[Row]:
        """Return the rows of metrics.csv or evaluations.csv."""
        return self._tables[name].rows

    def sums(self) -> Sums:
        """Flush all tables to the disk, and return the number of bytes and the CRC-32 of each."""
        for table in self._tables.values():  # so that rows survive a power failure
            with table.path.open("rb") as file:
                os.fsync(file.fileno())
        return {name: table.sum for name, table in self._tables.items()}

    def row(self, row: Row) -> None:
        """Write one row of metrics.csv."""
        self._tables["metrics.csv"].append(row)
        self._loggers.each(lambda logger: logger.row(row))

    def scores(self, rows: Sequence[Row], top1: Mapping[str, float]) -> None:
        """Write rows of one step of evaluations.csv, and show accuracies by name in one chart."""
        self._tables["evaluations.csv"].append(*rows)
        step, values = int(rows[0]["step"]), {f"top1/{name}": top1[name] for name in top1}
        self._loggers.each(lambda logger: logger.scalars(step, values))

    def verdict(self, step: int, verdict: str, evidence: str) -> None:
        """Show a verdict with its evidence if it has changed; `close` shows the last one."""
        self._verdict = (step, verdict, evidence)
        if self._shown_verdict[1] != verdict:
            self._show_verdict()

    def snapshots(self, snapshots: Sequence[Snapshot]) -> None:
        """Write spectra to spectra.csv, and show them and the deviations of dimensions."""
        for one in snapshots:  # of more than 256 eigenvalues, 256 at equal distances
            count = len(one.spectrum)
            shown = min(count, SPECTRUM_COLUMNS)
            places = [round(i * (count - 1) / max(1, shown - 1)) for i in range(shown)]
            row: Row = {"step": one.step, **{str(i + 1): one.spectrum[i] for i in places}}
            self._tables["spectra.csv"].append(row)
            self._show_deviations(one.step, one.deviations)
        spectra = [_Spectrum(s.step, np.asarray(s.spectrum, np.float32)) for s in snapshots]
        self._spectra.extend([one for one in spectra if np.isfinite(one.values).all()])

    def layers(self, rows: Sequence[LayerRow]) -> None:
        """Write measurements of layers to layers.csv."""
        self._tables["layers.csv"].append(*(row._asdict() for row in rows))
        self._layers.extend(rows)

    def views(self, grid: Tensor) -> None:
        """Write views.png from an image (3, H, W), uint8, of the learner's inputs."""
        picture = grid.permute(1, 2, 0).numpy()
        with replaced(self.folder / "views.png") as file:
            Image.fromarray(picture).save(file, format="PNG")
        self._loggers.each(lambda logger: logger.image("views", None, picture))

    def hyperparameters(
        self, settings: Mapping[str, Any], metrics: Mapping[str, float | None]
    ) -> None:
        """Show settings by dotted key, and metrics at the end of a run, without null."""
        flat = {
            key: value if type(value) in (int, float) else as_typed(value)
            for key, value in flatten(settings).items()
            if value is not None
        }
        known = {name: value for name, value in metrics.items() if value is not None}
        self._loggers.each(lambda logger: logger.hyperparameters(flat, known))

    def embeddings(
        self, features: Tensor, labels: Sequence[str] | None, images: Tensor | None
    ) -> None:
        """Show features (N, D), with class names and images (N, 3, H, W) uint8 if given."""
        self._loggers.each(lambda logger: logger.embeddings(features, labels, images))

    def close(self) -> None:
        """Draw the last figures, show the last verdict, and close the loggers."""
        self._spectra.draw_rest()
        self._layers.draw_rest()
        if self._verdict != self._shown_verdict:
            self._show_verdict()
        self._loggers.each(lambda logger: logger.close())

    def _show_verdict(self) -> None:
        step, verdict, evidence = self._verdict
        found = f"**{verdict}** at step {step}" + (f": {evidence}" if evidence else "")
        advice = " docs/collapse.md has remedies." if verdict in WARNED else ""
        text = f"{found}\n\n*{MEANINGS[verdict]}*{advice}"
        self._loggers.each(lambda logger: logger.text("collapse/verdict", step, text))
        self._shown_verdict = self._verdict

    def _show_deviations(self, step: int, deviations: Sequence[float]) -> None:
        """Show a histogram of the std of dimensions times sqrt(D), near 1 without collapse."""
        values = np.asarray(deviations, dtype=np.float64)
        values = values[np.isfinite(values)]
        if values.size:
            edges = np.linspace(0, max(EVEN_SPREAD, values.max()), HISTOGRAM_BINS + 1)
            name = "collapse/std_per_dimension"
            self._loggers.each(lambda logger: logger.histogram(name, step, values, edges))


class _Picture:
    """Figure of all measurements of a run so far, shown by loggers.

    It is drawn at the first measurement, whenever their number has grown by a tenth and drawing has
    taken at most `SHARE` of the time, and at the end.
    """

    def __init__(self, name: str, loggers: Loggers, draw: Callable[[list[Any]], Any]) -> None:
        self._name, self._loggers, self._draw = name, loggers, draw
        self._entries: list[Any] = []
        self._drawn, self._spent, self._start = 0, 0.0, time.perf_counter()

    def extend(self, entries: Sequence[Any]) -> None:
        self._entries.extend(entries)
        has_grown = len(self._entries) >= 1.1 * self._drawn
        if has_grown and self._spent <= SHARE * (time.perf_counter() - self._start):
            self.draw_rest()

    def draw_rest(self) -> None:
        """Draw the figure if there are new measurements and a logger."""
        if not self._loggers or len(self._entries) == self._drawn:
            return
        self._drawn, began = len(self._entries), time.perf_counter()
        with warned(f"the figure {self._name}"):
            step, picture = self._entries[-1].step, pixels(self._draw(self._entries))
            self._loggers.each(lambda logger: logger.image(self._name, step, picture))
        self._spent += time.perf_counter() - began


class Recorder:
    """Recorder of the rows of a pretraining; only rank zero has files.

    At a collapse, `on_collapse=warn` prints a line, `stop` and `rollback` raise an exception, and
    `ignore` does nothing. `last_step` is the step of the last row.
    """

    def __init__(
        self, files: RunFiles | None, monitor: CollapseMonitor, line: ProgressLine, on_collapse: str
    ) -> None:
        self._files = files
        self._monitor = monitor
        self._line = line
        self._on_collapse = on_collapse
        self._verdict = monitor.verdict
        self.last_step = 0

    def row(self, row: Row) -> None:
        """Record one row.

        Raises:
            CollapseStop: the verdict became complete and `on_collapse` is `stop` or `rollback`.
        """
        self.last_step, verdict = int(row["step"]), self._monitor.verdict
        self._line.show(row)
        snapshots, layers = self._monitor.take_snapshots(), self._monitor.take_layer_rows()
        if self._files:
            self._files.row(row)
            self._files.verdict(self.last_step, verdict, self._monitor.evidence)
            self._files.snapshots(snapshots)
            self._files.layers(layers)
        is_new, self._verdict = verdict != self._verdict, verdict
        if not is_new or verdict not in WARNED or self._on_collapse == "ignore":
            return
        began = self._monitor.collapsed_at_step  # None while collapsing
        since = verdict if began is None else f"{verdict} collapse since step {began}"
        found = f"{since}: {self._monitor.evidence}; {REMEDIES}"
        if self._on_collapse != "warn" and verdict == "complete":
            raise CollapseStop(found, {"steps": self.last_step, **verdict_of(self._monitor)})
        self._line.console.print(coloured(("warning:", "bold red"), f" {found}"), soft_wrap=True)


def verdict_of(monitor: CollapseMonitor) -> dict[str, Any]:
    """Return the verdict of a monitor with its step and evidence, for summary.json."""
    return {
        "verdict": monitor.verdict,
        "collapsed_at_step": monitor.collapsed_at_step,
        "evidence": monitor.evidence,
    }


def roll_back(folder: RunFolder, stop: CollapseStop, learner: nn.Module) -> CollapseStop:
    """Restore the last healthy checkpoint as last.pt and in the learner.

    Return the collapse with a message that names both checkpoints.
    """
    if "rolled_back_to_step" in stop.found:  # a killed process may have left healthy.pt
        (folder / "healthy.pt").unlink(missing_ok=True)
        return stop
    if not (folder / "healthy.pt").exists():
        none = "no checkpoint was healthy, so nothing was rolled back"
        return CollapseStop(f"{stop}; {none}", stop.found)
    healthy = folder.checkpoint("healthy.pt")
    step = int(healthy["step"])
    ending = CollapseStop(
        f"{stop}; rolled back: last.pt is the healthy checkpoint of step {step} and "
        "collapsed.pt the collapsed one; to continue with other settings: "
        f"encoder.pretrained_path={folder / 'last.pt'}",
        {**stop.found, "rolled_back_to_step": step},
    )
    folder.roll_back({**healthy, "stopped": ending.state()})
    learner.load_state_dict(healthy["learner"])
    return ending
