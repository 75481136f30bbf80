"""Recorders: rows of a run into files, loggers and the progress line."""

from collections.abc import Mapping, Sequence

from PIL import Image
from torch import Tensor, nn

from ssl_norm.errors import CollapseStop
from ssl_norm.monitors import CollapseMonitor
from ssl_norm.monitors.collapse_monitor import Snapshot
from ssl_norm.monitors.layers import LayerRow
from ssl_norm.train.loggers import Loggers
from ssl_norm.train.progress import ProgressLine
from ssl_norm.train.run_folder import Row, RunFolder
from ssl_norm.train.run_page import RunPage

REMEDIES = (
    "a norm in the heads (norm.projector=bn), a lower optimizer.lr, or method=simclr may help; "
    "docs/collapse.md has more"
)
SPECTRUM_COLUMNS = 256
KEPT = ("metrics.csv", "evaluations.csv")  # tables whose rows are needed when the run ends


class RunFiles:
    """The tables and the loggers of a run.

    Args:
        folder: the run folder.
        first_step: steps already done.
        loggers: names of `LOGGERS`, or `module:class`.
        tables: names of the CSV files and the last steps whose rows they keep.

    Attributes:
        folder: the run folder.
        page: shows the run in its loggers.
    """

    def __init__(
        self,
        folder: RunFolder,
        first_step: int,
        loggers: Sequence[str] = (),
        tables: Mapping[str, int] | None = None,
    ) -> None:
        self.folder = folder
        if tables is None:
            tables = dict.fromkeys(("metrics.csv", "spectra.csv", "layers.csv"), first_step)
        self._tables = {
            name: folder.table(name, last, keep=name in KEPT) for name, last in tables.items()
        }
        self.page = RunPage(Loggers(loggers, folder.path, first_step))

    def rows(self, name: str) -> list[Row]:
        """Return the rows of metrics.csv or evaluations.csv."""
        return self._tables[name].rows

    def row(self, row: Row) -> None:
        """Write one row of metrics.csv."""
        self._tables["metrics.csv"].append(row)
        self.page.row(row)

    def scores(self, rows: Sequence[Row], top1: Mapping[str, float]) -> None:
        """Write rows of one step of evaluations.csv, and show their accuracies by name."""
        self._tables["evaluations.csv"].append(*rows)
        self.page.scores(int(rows[0]["step"]), top1)

    def snapshots(self, snapshots: Sequence[Snapshot]) -> None:
        """Write spectra to spectra.csv, and show them with the deviations."""
        self._tables["spectra.csv"].append(*map(spectrum_row, snapshots))
        for snapshot in snapshots:
            self.page.spectrum(snapshot.step, snapshot.spectrum)
            self.page.deviations(snapshot.step, snapshot.deviations)

    def layers(self, rows: Sequence[LayerRow]) -> None:
        """Write measurements of layers to layers.csv."""
        self._tables["layers.csv"].append(*(row._asdict() for row in rows))
        self.page.layers(rows)

    def views(self, grid: Tensor) -> None:
        """Write views.png, a picture (3, H, W), uint8, of what the learner sees."""
        Image.fromarray(grid.permute(1, 2, 0).numpy()).save(self.folder / "views.png")
        self.page.views(grid)

    def close(self) -> None:
        """Close the loggers."""
        self.page.close()


def spectrum_row(snapshot: Snapshot) -> Row:
    """Return the eigenvalues by number from 1; of more than 256, those of 256 even steps."""
    count = len(snapshot.spectrum)
    shown = min(count, SPECTRUM_COLUMNS)
    places = [round(i * (count - 1) / max(1, shown - 1)) for i in range(shown)]
    return {"step": snapshot.step, **{str(i + 1): snapshot.spectrum[i] for i in places}}


class Recorder:
    """Takes the rows of a pretraining on one process.

    Args:
        files: None on processes that write nothing.
        monitor: knows the verdict and the step of a collapse.
        line: progress line.
        on_collapse: `warn` prints one line, `stop` and `rollback` raise, `ignore` does neither.

    Attributes:
        last_step: of the last row.
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
            CollapseStop: the verdict became complete and `on_collapse` is `stop` or `rollback`.
        """
        self.last_step = int(row["step"])
        self._line.show(row)
        snapshots, layers = self._monitor.take_snapshots(), self._monitor.take_layer_rows()
        if self._files:
            self._files.row(row)
            self._files.page.verdict(self.last_step, str(row["verdict"]), self._monitor.evidence)
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


def roll_back(folder: RunFolder, stop: CollapseStop, learner: nn.Module) -> CollapseStop:
    """Restore the last healthy checkpoint as last.pt, and return an error that names both files.

    Args:
        folder: of the run.
        stop: the collapse.
        learner: gets the weights of the healthy checkpoint.
    """
    checkpoint = folder.roll_back()
    if checkpoint is None:
        return CollapseStop(f"{stop}; no checkpoint was healthy, so there is none to roll back to")
    learner.load_state_dict(checkpoint["learner"])
    return CollapseStop(
        f"{stop}; rolled back: last.pt is the healthy checkpoint of step {checkpoint['step']} and "
        "collapsed.pt the collapsed one; to go on with other settings: "
        f"encoder.pretrained_path={folder / 'last.pt'}",
        rolled_back_to=int(checkpoint["step"]),
    )
