"""Where the rows of a run go: CSV files, TensorBoard, the live line, and the word on collapse."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from ssl_norm.errors import CollapseStop
from ssl_norm.monitors import CollapseMonitor
from ssl_norm.monitors.collapse_monitor import Snapshot
from ssl_norm.monitors.layers import LayerRow
from ssl_norm.train.progress import ProgressLine
from ssl_norm.train.run_folder import Row, StepTable
from ssl_norm.train.tensorboard import TensorBoard

REMEDIES = (
    "a norm in the heads (norm.projector=bn), a lower optimizer.lr, or method=simclr may help; "
    "docs/collapse.md has more"
)
SPECTRUM_COLUMNS = 256


class RunFiles:
    """The files that grow during a run.

    Args:
        folder: the run folder.
        first_step: steps already done.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        self._folder = folder
        self._metrics = StepTable(folder / "metrics.csv", first_step)
        self._spectra = StepTable(folder / "spectra.csv", first_step)
        self._layers = StepTable(folder / "layers.csv", first_step)
        self.tensorboard = TensorBoard(folder, first_step)

    def row(self, row: Row, evidence: str) -> None:
        """Write one row to metrics.csv and TensorBoard."""
        self._metrics.append(row)
        self.tensorboard.row(row)
        self.tensorboard.verdict(int(row["step"]), str(row["verdict"]), evidence)

    def snapshots(self, snapshots: Sequence[Snapshot]) -> None:
        """Write spectra to spectra.csv and, with the deviations, to TensorBoard."""
        self._spectra.append(*map(spectrum_row, snapshots))
        for snapshot in snapshots:
            self.tensorboard.spectrum(snapshot.step, snapshot.spectrum)
            self.tensorboard.deviations(snapshot.step, snapshot.deviations)

    def layers(self, rows: Sequence[LayerRow]) -> None:
        """Write measurements of layers to layers.csv and TensorBoard."""
        self._layers.append(*(row._asdict() for row in rows))
        self.tensorboard.layers(rows)

    def views(self, grid: Tensor) -> None:
        """Write a picture (3, H, W), uint8, of what the learner sees: views.png, and an image in TensorBoard."""
        Image.fromarray(grid.permute(1, 2, 0).numpy()).save(self._folder / "views.png")
        self.tensorboard.views(grid)

    def close(self) -> None:
        """Close the files."""
        self.tensorboard.close()


def spectrum_row(snapshot: Snapshot) -> Row:
    """Return the eigenvalues by their number from 1, of more than 256 those of 256 evenly spaced numbers."""
    count = len(snapshot.spectrum)
    shown = min(count, SPECTRUM_COLUMNS)
    places = [round(i * (count - 1) / max(1, shown - 1)) for i in range(shown)]
    return {"step": snapshot.step, **{str(i + 1): snapshot.spectrum[i] for i in places}}


class Recorder:
    """Takes the rows of a run on one process.

    Args:
        files: null on processes that write nothing.
        monitor: knows the verdict, and since when.
        line: the live line.
        on_collapse: `warn` prints one line, `stop` and `rollback` raise, `ignore` does neither.
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
        """Take one row.

        Raises:
            CollapseStop: the verdict has become complete and `on_collapse` is `stop` or `rollback`.
        """
        self.last_step = int(row["step"])
        self._line.show(row)
        snapshots, layers = self._monitor.take_snapshots(), self._monitor.take_layer_rows()
        if self._files:
            self._files.row(row, self._monitor.evidence)
            self._files.snapshots(snapshots)
            self._files.layers(layers)
        newly_collapsed = (
            row["verdict"] in ("complete", "dimensional") and row["verdict"] != self._verdict
        )
        self._verdict = self._monitor.verdict
        if not newly_collapsed or self._on_collapse == "ignore":
            return
        found = (
            f"{row['verdict']} collapse since step {self._monitor.collapsed_at_step}: "
            f"{self._monitor.evidence}; {REMEDIES}"
        )
        if self._on_collapse != "warn" and row["verdict"] == "complete":
            raise CollapseStop(found)
        self._line.console.print(f"[bold red]warning:[/] {found}", highlight=False, soft_wrap=True)
