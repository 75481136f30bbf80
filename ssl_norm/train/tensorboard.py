"""TensorBoard event files: both cosines in one chart on a page called collapse."""

import warnings
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

COSINES = ("positive_cosine", "negative_cosine")
LAYOUT = {
    "collapse": {
        "positive and negative cosine": ["Multiline", [f"collapse/{name}" for name in COSINES]],
        "standard deviation of normalised features": ["Multiline", ["collapse/feature_std"]],
    }
}


class TensorBoard:
    """Writes a run's scalars, verdict and views.

    Args:
        folder: where the event files go.
        first_step: steps already done; what an interrupted run wrote about later ones is hidden.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tensorboard's own imports warn of deprecations
            from torch.utils.tensorboard import SummaryWriter
        self._writer = SummaryWriter(folder, purge_step=first_step + 1)
        self._writer.add_custom_scalars(LAYOUT)
        self._verdict = ""

    def row(self, row: Mapping[str, float | int | str]) -> None:
        """Write one row of metrics; the verdict as text when it changes."""
        step = int(row["step"])
        for name, value in row.items():
            if isinstance(value, int | float) and name not in ("step", "epoch"):
                page = "collapse" if name in (*COSINES, "feature_std") else "train"
                self._writer.add_scalar(f"{page}/{name}", value, step)
        if row["verdict"] != self._verdict:
            self._verdict = str(row["verdict"])
            self._writer.add_text("collapse/verdict", self._verdict, step)

    def views(self, grid: Tensor) -> None:
        """Write a picture (3, H, W), uint8, of what the learner sees."""
        self._writer.add_image("views", grid)

    def close(self) -> None:
        """Flush and close the event file."""
        self._writer.close()
