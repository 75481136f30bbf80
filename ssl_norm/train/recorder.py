"""Where the rows of a run go: metrics.csv, TensorBoard, the live line, and the word on collapse."""

from pathlib import Path

from PIL import Image
from torch import Tensor

from ssl_norm.errors import CollapseStop
from ssl_norm.monitors import CollapseMonitor
from ssl_norm.train.progress import ProgressLine
from ssl_norm.train.run_folder import Metrics, Row
from ssl_norm.train.tensorboard import TensorBoard

REMEDIES = (
    "a norm in the heads (norm.projector=bn), a lower optimizer.lr, or method=simclr may help"
)


class RunFiles:
    """The files that grow during a run.

    Args:
        folder: the run folder.
        first_step: steps already done.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        self._folder = folder
        self._metrics = Metrics(folder / "metrics.csv", first_step)
        self._tensorboard = TensorBoard(folder, first_step)

    def row(self, row: Row) -> None:
        """Write one row to metrics.csv and TensorBoard."""
        self._metrics.append(row)
        self._tensorboard.row(row)

    def views(self, grid: Tensor) -> None:
        """Write a picture (3, H, W), uint8, of what the learner sees: views.png, and an image in TensorBoard."""
        Image.fromarray(grid.permute(1, 2, 0).numpy()).save(self._folder / "views.png")
        self._tensorboard.views(grid)

    def close(self) -> None:
        """Close the files."""
        self._tensorboard.close()


class Recorder:
    """Takes the rows of a run on one process.

    Args:
        files: null on processes that write nothing.
        monitor: knows the verdict, and since when.
        line: the live line.
        on_collapse: `warn` prints one line, `stop` raises, `ignore` does neither.
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
            CollapseStop: the verdict has become complete and `on_collapse` is `stop`.
        """
        self.last_step = int(row["step"])
        self._line.show(row)
        if self._files:
            self._files.row(row)
        newly_collapsed = row["verdict"] == "complete" != self._verdict
        self._verdict = self._monitor.verdict
        if not newly_collapsed or self._on_collapse == "ignore":
            return
        found = (
            f"complete collapse since step {self._monitor.collapsed_at_step}: "
            f"negative cosine {row['negative_cosine']:.5f}; {REMEDIES}"
        )
        if self._on_collapse == "stop":
            raise CollapseStop(found)
        self._line.console.print(f"[bold red]warning:[/] {found}", highlight=False, soft_wrap=True)
