"""Rows of a run as lines of JSON."""

import json
from math import isnan
from pathlib import Path

from ssl_norm.train.loggers import Logger
from ssl_norm.train.run_folder import Row


class JsonLines(Logger):
    """Append each row of metrics.csv to rows.jsonl; values that were not measured are omitted.

    Args:
        folder: folder of the run.
        first_step: number of steps already done; lines of later steps, from an interrupted run,
            are kept.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        self.file = (folder / "rows.jsonl").open("a", encoding="utf-8")

    def row(self, row: Row) -> None:
        """Append a row."""
        measured = {k: v for k, v in row.items() if not (isinstance(v, float) and isnan(v))}
        self.file.write(json.dumps(measured) + "\n")
        self.file.flush()

    def close(self) -> None:
        """Close the file."""
        self.file.close()
