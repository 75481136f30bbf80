"""The files that grow during a fine-tuning."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ssl_norm.train.run_folder import Row, StepTable
from ssl_norm.train.tensorboard import TensorBoard
from ssl_norm.train.tensorboard_layout import finetuning_layout


class FinetuneFiles:
    """metrics.csv, evaluations.csv and TensorBoard.

    Args:
        folder: the run folder.
        first_step: steps already done.
        is_over: whether these are all, so that the final scores come again.
    """

    def __init__(self, folder: Path, first_step: int, is_over: bool) -> None:
        self._metrics = StepTable(folder / "metrics.csv", first_step)
        self._evaluations = StepTable(folder / "evaluations.csv", first_step - is_over)
        self.tensorboard = TensorBoard(folder, first_step, finetuning_layout)

    def row(self, row: Row) -> None:
        """Write one row to metrics.csv and TensorBoard."""
        self._metrics.append(row)
        self.tensorboard.row(row)

    def scores(self, rows: Sequence[Row], top1: Mapping[str, float]) -> None:
        """Write rows of one step to evaluations.csv, and their accuracies by name to TensorBoard."""
        self._evaluations.append(*rows)
        self.tensorboard.scores(int(rows[0]["step"]), top1)

    def close(self) -> None:
        """Close the files."""
        self.tensorboard.close()
