"""Where the rows of a run go: metrics.csv, TensorBoard, the live line, and the word on collapse."""

from pathlib import Path
from statistics import median

from PIL import Image
from torch import Tensor

from ssl_norm.errors import CollapseStop
from ssl_norm.monitors import CollapseMonitor
from ssl_norm.train.loop import Row
from ssl_norm.train.progress import ProgressLine
from ssl_norm.train.run_folder import Metrics
from ssl_norm.train.tensorboard import TensorBoard

REMEDIES = (
    "a norm in the heads (norm.projector=bn), a lower optimizer.lr, or method=simclr may help"
)


class Recorder:
    """Takes the rows of a run.

    Args:
        folder: the run folder; null on ranks that write nothing.
        first_step: steps already done.
        monitor: knows since when there is collapse.
        line: the live line.
        on_collapse: `warn` prints one line, `stop` raises, `ignore` does neither.
    """

    def __init__(
        self,
        folder: Path | None,
        first_step: int,
        monitor: CollapseMonitor,
        line: ProgressLine,
        on_collapse: str,
    ) -> None:
        self.last: Row = {}
        self._rates: list[float] = []
        self._folder = folder
        self._metrics = Metrics(folder / "metrics.csv", first_step) if folder else None
        self._tensorboard = TensorBoard(folder, first_step) if folder else None
        self._monitor = monitor
        self._line = line
        self._on_collapse = on_collapse

    @property
    def images_per_second(self) -> float:
        """The median over the rows of this session; 0 before the first."""
        return median(self._rates) if self._rates else 0.0

    def row(self, row: Row) -> None:
        """Take one row.

        Raises:
            CollapseStop: the verdict is complete and `on_collapse` is `stop`.
        """
        newly_collapsed = row["verdict"] == "complete" != self.last.get("verdict")
        self.last = row
        self._rates.append(float(row["images_per_second"]))
        self._line.show(row)
        if self._metrics and self._tensorboard:
            self._metrics.append(row)
            self._tensorboard.row(row)
        if newly_collapsed and self._on_collapse != "ignore":
            since = self._monitor.collapsed_at_step
            found = f"complete collapse since step {since}: negative cosine {row['negative_cosine']:.5f}; {REMEDIES}"
            if self._on_collapse == "stop":
                raise CollapseStop(found)
            self._line.console.print(
                f"[bold red]warning:[/] {found}", highlight=False, soft_wrap=True
            )

    def views(self, grid: Tensor) -> None:
        """Take a picture (3, H, W), uint8, of what the learner sees: views.png, and an image in TensorBoard."""
        if self._folder and self._tensorboard:
            Image.fromarray(grid.permute(1, 2, 0).numpy()).save(self._folder / "views.png")
            self._tensorboard.views(grid)

    def close(self) -> None:
        """Close the files."""
        if self._tensorboard:
            self._tensorboard.close()
