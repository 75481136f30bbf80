"""What every training run ends with, whichever tool ran it."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from ssl_norm.config import FinetuneConfig, PretrainConfig
from ssl_norm.train.run_folder import Row, norm_names


def run_summary(
    config: PretrainConfig | FinetuneConfig, rows: Sequence[Row], otherwise: Row
) -> dict[str, Any]:
    """Return what summary.json tells of any run: who it was, its last row, and the median speed.

    Args:
        config: of the run.
        rows: of metrics.csv.
        otherwise: the last row of a run that has none yet.
    """
    last = rows[-1] if rows else otherwise
    speeds = [float(row["images_per_second"]) for row in rows]
    return {
        "study": config.study,
        "arm": config.arm,
        "norm": norm_names(config),
        "seed": config.seed,
        "steps": last["step"],
        **{name: value for name, value in last.items() if name != "step"},
        "images_per_second": median(speeds) if speeds else None,
    }


def print_end(table: Table, folder: Path) -> None:
    """Print the final table, and where the run lies and how to look at it."""
    Console().print(table)
    Console().print(
        f"run folder: {folder}   curves: tensorboard --logdir {folder}",
        highlight=False,
        soft_wrap=True,
    )
