"""The folder of a run: the format, the reader and the writer of each of its files."""

import csv
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from math import nan
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # PyYAML, which omegaconf brings
from omegaconf import OmegaConf

from ssl_norm.errors import UserError
from ssl_norm.files import append_text, write_json, write_text

Row = dict[str, float | int | str]


class UnreadableRun(ValueError):
    """A file of a run folder does not hold what it should; the text names the file."""


@dataclass(frozen=True)
class TableSchema:
    """Columns of a CSV file that hold no floats; all other columns do.

    Attributes:
        texts: columns of text.
        whole: columns of integers.
    """

    texts: tuple[str, ...] = ()
    whole: tuple[str, ...] = ("step",)


TABLES = {
    "metrics.csv": TableSchema(texts=("verdict",)),
    "spectra.csv": TableSchema(),
    "layers.csv": TableSchema(texts=("layer",)),
    "evaluations.csv": TableSchema(
        texts=("split", "domain", "statistics", "statistics_from"),
        whole=("step", "samples", "batch_size", "images"),
    ),
}


class RunFolder:
    """The folder of a run, with one reader and one writer for each of its files.

    =================  =========================================================================
    config.yaml        settings, and the environment of the run
    metrics.csv        losses and monitors, a row every few steps
    spectra.csv        eigenvalues of the covariance of embeddings, a row per step
    layers.csv         monitors of each layer, a row per layer and step
    evaluations.csv    accuracies of a classifier, a row per step and kind of statistics
    summary.json       results of a run that ended
    skipped.txt        images that did not decode
    last.pt            checkpoint to go on from; step_<n>.pt: kept ones; healthy.pt, collapsed.pt:
                       the latest healthy checkpoint, and the one that it replaced after a collapse
    =================  =========================================================================

    Needs torch for checkpoints only.

    Args:
        path: of the folder, which need not exist.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser()

    def __str__(self) -> str:
        return str(self.path)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def claim(self, *, resume: bool) -> Mapping[str, Any] | None:
        """Make the folder if need be, and return the checkpoint that a run goes on from, if any.

        Raises:
            UserError: the folder cannot be written to, or it holds a run and `resume` is false.
        """
        has_run = (self / "last.pt").exists()
        if has_run and not resume:
            raise UserError(
                f"run_dir={self} already holds a run; add resume=true to go on, or name another"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self / ".writable").touch()
            (self / ".writable").unlink()
        except OSError as error:
            raise UserError(f"run_dir={self} cannot be written to: {error.strerror}") from error
        return self.checkpoint() if has_run else None

    def checkpoint(self, name: str = "last.pt") -> Mapping[str, Any]:
        """Return a checkpoint, on the CPU.

        Raises:
            UserError: there is none, or it is of another format.
        """
        from ssl_norm.train.checkpoint import load_checkpoint

        return load_checkpoint(self / name)

    def save(self, content: Mapping[str, Any], name: str = "last.pt") -> None:
        """Write a checkpoint, whole or not at all."""
        from ssl_norm.train.checkpoint import save_checkpoint

        save_checkpoint(self / name, content)

    def roll_back(self) -> Mapping[str, Any] | None:
        """Make healthy.pt the last checkpoint and return it; the last one becomes collapsed.pt.

        Without a healthy checkpoint nothing changes, and None is returned.
        """
        if not (self / "healthy.pt").exists():
            return None
        (self / "last.pt").replace(self / "collapsed.pt")
        (self / "healthy.pt").replace(self / "last.pt")
        return self.checkpoint()

    def write_config(self, settings: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        """Write config.yaml.

        Args:
            settings: as nested plain containers.
            environment: what the results depend on beyond the settings.
        """
        content = {**settings, "environment": dict(environment)}
        write_text(self / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(content)))

    def config(self) -> dict[str, Any]:
        """Return config.yaml as nested plain containers, with an `environment`.

        Raises:
            UnreadableRun: it is missing or no YAML.
        """
        try:
            content = yaml.safe_load((self / "config.yaml").read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UnreadableRun("there is no config.yaml") from error
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise UnreadableRun(f"config.yaml cannot be read: {_first_line(error)}") from error
        content = content if isinstance(content, dict) else {}
        if not isinstance(content.setdefault("environment", {}), dict):
            raise UnreadableRun("config.yaml: environment holds no keys")
        return content

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file, as :func:`write_json` does."""
        write_json(self / name, content)

    def json(self, name: str) -> dict[str, Any]:
        """Return the object of a JSON file, an empty one without the file.

        Raises:
            UnreadableRun: the file holds no JSON object.
        """
        try:
            content = json.loads((self / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise UnreadableRun(f"{name} cannot be read: {_first_line(error)}") from error
        if not isinstance(content, dict):
            raise UnreadableRun(f"{name} holds no object")
        return content

    def write_skipped(self, paths: Sequence[str]) -> None:
        """Write skipped.txt, the files that did not decode, if there are any."""
        if paths:
            write_text(self / "skipped.txt", "\n".join(paths) + "\n")

    def rows(self, name: str) -> list[Row]:
        """Return the rows of a file of `TABLES`; see :func:`read_metrics`."""
        return read_metrics(self / name)

    def table(self, name: str, last_step: int, *, keep: bool = False) -> "StepTable":
        """Return the writer of a file of `TABLES`, without rows after `last_step`."""
        return StepTable(self / name, last_step, keep=keep)


class StepTable:
    """A CSV file to which rows that begin with a step are appended and flushed.

    Args:
        path: of a file of `TABLES` in a run folder.
        last_step: rows of later steps, of a run that was interrupted, are dropped.
        keep: whether `rows` grows with the file.

    Attributes:
        rows: those of the file; after `keep=False` none.
    """

    def __init__(self, path: Path, last_step: int, *, keep: bool = False) -> None:
        self._path = path
        self._keep = keep
        self.rows = [row for row in read_metrics(path) if int(row["step"]) <= last_step]
        self._columns = list(self.rows[0]) if self.rows else []
        lines = [self._columns] if self.rows else []
        lines += [list(map(str, row.values())) for row in self.rows]
        write_text(path, "".join(f"{','.join(line)}\n" for line in lines))
        if not keep:
            self.rows = []

    def append(self, *rows: Row) -> None:
        """Add rows; the first row of all names the columns.

        A resumed run keeps the columns that it began with: a monitor added since then is left out
        of the file (loggers show it), one that no longer exists is NaN.
        """
        text = StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if rows and not self._columns:
            self._columns = list(rows[0])
            writer.writerow(self._columns)
        known = [{column: row.get(column, nan) for column in self._columns} for row in rows]
        writer.writerows(row.values() for row in known)
        append_text(self._path, text.getvalue())
        if self._keep:
            self.rows += known


def read_metrics(path: Path) -> list[Row]:
    """Return the rows of a file of `TABLES`, typed; a last row cut short by a kill is left out.

    An empty number is NaN. Without the file there are no rows.

    Raises:
        UnreadableRun: the file cannot be read, a row does not fit the columns, or a cell is no
            number.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise UnreadableRun(f"{path.name} cannot be read: {_first_line(error)}") from error
    rows = list(csv.DictReader(line for line in lines if line.endswith("\n")))
    if any(None in row or None in row.values() or "step" not in row for row in rows):
        raise UnreadableRun(f"{path.name}: a row does not fit the columns of the first line")
    schema = TABLES.get(path.name, TableSchema())
    return [{name: _typed(path, schema, name, cell) for name, cell in row.items()} for row in rows]


def _typed(path: Path, schema: TableSchema, name: str, cell: str) -> float | int | str:
    """Return a cell as text or as a number, as the schema of its file says."""
    if name in schema.texts:
        return cell
    try:
        if name in schema.whole:
            return int(cell)
        return float(cell) if cell else nan
    except ValueError as error:
        raise UnreadableRun(f"{path.name}: '{cell}' in column {name} is no number") from error


def _first_line(error: BaseException) -> str:
    """Return the first line of an error's text."""
    lines = (getattr(error, "strerror", None) or str(error)).splitlines()
    return str(lines[0]) if lines else type(error).__name__
