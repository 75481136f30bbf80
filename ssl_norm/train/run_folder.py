"""Folder of a run: format, reader and writer of each of its files."""

import csv
import io
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from math import nan
from pathlib import Path
from textwrap import shorten
from typing import Any
from zlib import crc32

import yaml  # type: ignore[import-untyped]  # PyYAML, which omegaconf brings
from omegaconf import OmegaConf
from pydantic import BaseModel, ValidationError

from ssl_norm.console import say
from ssl_norm.errors import UserError
from ssl_norm.files import append_text, checksum, replaced, write_json, write_text
from ssl_norm.text import as_typed, first_line

Row = dict[str, float | int | str]
Sums = dict[str, list[int]]  # number of bytes and their CRC-32, by table
LARGEST = {".yaml": 2**18, ".json": 2**26}  # bytes
DEEPEST = 40  # levels of YAML
CHECKSUM = "# checksum "  # first line of config.yaml
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class UnreadableRun(UserError):
    """Error: a file of a run folder cannot be read, or its content is invalid.

    `reason` names the file and the fault; the message also names the folder and the repair.
    """

    def __init__(self, path: Path, reason: str) -> None:
        then = {
            "config.yaml": "a resumed run takes the settings from last.pt",
            "summary.json": "a resumed run writes it again",
            **dict.fromkeys(TABLES, "a resumed run continues without its earlier rows"),
        }.get(path.name, "run the tool that wrote it again")
        self.reason = reason
        super().__init__(f"{path.parent}: {reason}; restore it from a copy, or delete it: {then}")


Kind = type[float] | type[int] | type[str]
TABLES: dict[str, dict[str, Kind]] = {  # types of the columns that do not hold floats, by file
    "metrics.csv": {"step": int, "verdict": str},
    "spectra.csv": {"step": int},
    "layers.csv": {"step": int, "layer": str},
    "evaluations.csv": {
        **dict.fromkeys(("step", "samples", "batch_size", "images"), int),
        **dict.fromkeys(("split", "domain", "statistics", "statistics_from"), str),
    },
}


class _Record(BaseModel, strict=True):
    """The keys of a file that its readers rely on; all other keys are free."""


class _Summary(_Record):
    steps: int


class _Step(_Record):
    step: int


class _Probes(_Record):
    steps: list[_Step] = []


class _Population(_Record):
    evaluations: dict[str, dict[str, Any] | None] | None = None


class _Config(_Record):
    environment: dict[str, Any] = {}
    norm: dict[str, Any] = {}


RECORDS: dict[str, type[_Record]] = {
    "config.yaml": _Config,
    "summary.json": _Summary,
    "linear_eval_steps.json": _Probes,
    "population_stats.json": _Population,
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
    images.txt         how the images were read
    skipped.txt        images that did not decode
    last.pt            checkpoint to resume from
    step_<n>.pt        checkpoints that are kept
    healthy.pt         latest healthy checkpoint
    collapsed.pt       last.pt at a collapse, replaced by healthy.pt in a rollback
    .lock              process and host that are writing the folder
    =================  =========================================================================

    Only checkpoints need torch.

    Args:
        path: path of the folder, which need not exist.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser()

    def __str__(self) -> str:
        return str(self.path)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def has_run(self) -> bool:
        """Return whether there is a checkpoint, a result, or a row of metrics."""
        metrics = self / "metrics.csv"
        has_rows = metrics.is_file() and metrics.stat().st_size > 0
        return has_rows or any((self / name).exists() for name in ("last.pt", "summary.json"))

    def checkpoint(self, name: str = "last.pt") -> Mapping[str, Any]:
        """Return a checkpoint, on the CPU.

        Raises:
            UserError: there is none, or it has another format.
        """
        from ssl_norm.train.checkpoint import load_checkpoint

        try:
            content = load_checkpoint(self / name)
            if missing := {"config", "processes", "step"} - content.keys():
                raise UserError(
                    f"{self / name} is not from a run: it has no {', '.join(sorted(missing))}"
                )
            return content
        except UserError as error:
            kept = sorted(self.path.glob("step_*.pt"), key=lambda path: path.stat().st_mtime)
            way = f"copy {kept[-1].name} over it" if kept else "restore it from a copy"
            raise UserError(f"{error}; {way}, or name another run_dir") from error

    def save(self, content: Mapping[str, Any], name: str = "last.pt") -> None:
        """Write a checkpoint, either completely or not at all."""
        from ssl_norm.train.checkpoint import save_checkpoint

        save_checkpoint(self / name, content)

    def roll_back(self, healthy: Mapping[str, Any]) -> None:
        """Copy last.pt to collapsed.pt, and write a healthy checkpoint to last.pt."""
        with replaced(self / "collapsed.pt") as file, open(self / "last.pt", "rb") as collapsed:
            shutil.copyfileobj(collapsed, file)
        self.save(healthy)
        (self / "healthy.pt").unlink()

    def write_config(self, settings: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        """Write config.yaml: settings in plain containers, versions and hardware."""
        content = {**settings, "environment": dict(environment)}
        text = OmegaConf.to_yaml(OmegaConf.create(content))
        first = f"{CHECKSUM}{crc32(text.encode()):08x}; after a change by hand, delete this line\n"
        write_text(self / "config.yaml", first + text)

    def config(self) -> dict[str, Any]:
        """Return config.yaml as nested plain containers, with an `environment`.

        Raises:
            UnreadableRun: it is missing, damaged, not YAML of plain containers, or does not fit
                `RECORDS`.
        """
        path = self / "config.yaml"
        text = read_text(path)
        if text is None:
            raise UnreadableRun(path, "there is no config.yaml")
        first, _, body = text.partition("\n")
        if first.startswith(CHECKSUM) and f"{crc32(body.encode()):08x}" not in first:
            raise UnreadableRun(path, "config.yaml is damaged: it does not match its checksum")
        try:
            _check_events(text)
            content = yaml.load(text, _LOADER)
        except (ValueError, yaml.YAMLError) as error:
            raise UnreadableRun(path, f"config.yaml cannot be read: {first_line(error)}") from error
        content = content if isinstance(content, dict) else {}
        if not all(isinstance(key, str) for key in content):
            raise UnreadableRun(path, "config.yaml has a key that is not text")
        _check_record(path, content)
        return {"environment": {}, **content}

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file, as :func:`write_json` does."""
        write_json(self / name, content)

    def json(self, name: str) -> dict[str, Any]:
        """Return the object in a JSON file; an empty one if there is no file.

        Raises:
            UnreadableRun: the file holds no JSON object, is damaged, or does not fit `RECORDS`.
        """
        path = self / name
        text = read_text(path)
        if text is None:
            return {}
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UnreadableRun(path, f"{name} cannot be read: {first_line(error)}") from error
        if not isinstance(content, dict):
            raise UnreadableRun(path, f"{name} holds no object")
        found = content.pop("crc32", None)
        if found is not None and found != checksum(content):
            raise UnreadableRun(path, f"{name} is damaged: it does not match its crc32")
        _check_record(path, content)
        return content

    def write_images(self, notes: Sequence[str], skipped: Sequence[str]) -> None:
        """Write images.txt (how the images were read) and skipped.txt, if they have lines."""
        for name, lines in (("images.txt", notes), ("skipped.txt", skipped)):
            if lines:
                write_text(self / name, "\n".join(lines) + "\n")

    def rows(self, name: str) -> list[Row]:
        """Return the typed rows of a file of `TABLES`; none if there is no file.

        An empty number is NaN. An incomplete last row, as after a kill, is left out.

        Raises:
            UnreadableRun: the file cannot be read, a row does not fit the columns, or a cell is
                not a number.
        """
        return _read_table(self / name)[1]


class StepTable:
    """Writer of a CSV file: rows, which start with a step, are appended and flushed.

    Args:
        path: path of a file of `TABLES` in a run folder.
        last_step: rows of later steps, from an interrupted run, are dropped.
        keep: whether `rows` holds the rows of the file; otherwise it is empty.
        written: `sum` of the file (bytes and CRC-32) in the checkpoint; None: unknown.

    Raises:
        UnreadableRun: the file is damaged.
    """

    def __init__(
        self,
        path: Path,
        last_step: int,
        *,
        keep: bool = False,
        written: Sequence[int] | None = None,
    ) -> None:
        self.path = path
        self._keep = keep
        if written and written[0] and not path.exists():
            say(f"warning: {path} is gone; its rows begin again after step {last_step}")
            written = None
        lines, rows = _read_table(path, written)
        kept = [index for index, row in enumerate(rows) if int(row["step"]) <= last_step]
        self.rows = [rows[index] for index in kept] if keep else []
        self._columns = list(rows[0]) if kept else []
        text = "".join(lines[index + 1] for index in kept)
        text = lines[0] + text if kept else ""
        self.sum = [0, 0]
        self._count(text)
        write_text(path, text)

    def append(self, *rows: Row) -> None:
        """Add rows; the keys of the very first row are the columns.

        A resumed run keeps its columns: a new monitor is not written to the file (loggers show it),
        and a removed monitor is NaN.
        """
        lines: list[Sequence[object]] = []
        if rows and not self._columns:
            self._columns = list(rows[0])
            lines.append(self._columns)
        known = [{column: row.get(column, nan) for column in self._columns} for row in rows]
        lines += [list(row.values()) for row in known]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(lines)
        append_text(self.path, text.getvalue())
        self._count(text.getvalue())
        if self._keep:
            self.rows += known

    def _count(self, text: str) -> None:
        data = text.encode()
        self.sum = [self.sum[0] + len(data), crc32(data, self.sum[1])]


def _read_table(path: Path, written: Sequence[int] | None = None) -> tuple[list[str], list[Row]]:
    """Return the complete lines of a CSV file, and its rows; check that it starts as `written`."""
    text = read_text(path) or ""
    if written and crc32(text.encode()[: written[0]]) != written[1]:
        raise UnreadableRun(path, f"{path.name} is damaged: its rows are not those of the run")
    lines = [line for line in io.StringIO(text, newline="\n") if line.endswith("\n")]
    try:
        header, *cells = csv.reader(lines, strict=True) if lines else [[]]
    except csv.Error as error:
        raise UnreadableRun(path, f"{path.name} cannot be read: {error}") from error
    fits = len(cells) == max(0, len(lines) - 1) and all(len(row) == len(header) for row in cells)
    if not fits or (cells and ("step" not in header or len(set(header)) < len(header))):
        raise UnreadableRun(path, f"{path.name}: a row does not fit the columns of the first line")
    kinds = TABLES.get(path.name, {"step": int})
    rows = [
        {
            name: _typed(path, kinds.get(name, float), name, cell)
            for name, cell in zip(header, row, strict=True)
        }
        for row in cells
    ]
    return lines, rows


def _typed(path: Path, kind: Kind, name: str, cell: str) -> float | int | str:
    """Return a cell as text or as a number."""
    try:
        return kind(cell) if cell or kind is not float else nan
    except ValueError as error:
        reason = f"{path.name}: '{cell}' in column {name} is not a number"
        raise UnreadableRun(path, reason) from error


def _check_record(path: Path, content: dict[str, Any]) -> None:
    """Raise UnreadableRun unless the content of a file fits `RECORDS`."""
    model = RECORDS.get(path.name, _Record)
    try:
        model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key, wanted = ".".join(map(str, first["loc"])), first["msg"].partition(" or instance")[0]
        found = "nothing" if first["type"] == "missing" else shorten(as_typed(first["input"]), 60)
        raise UnreadableRun(path, f"{path.name}: {key}: {wanted}, got {found}") from error


def read_text(path: Path) -> str | None:
    """Return the text of a small UTF-8 file, or None if there is no file.

    Raises:
        UnreadableRun: it cannot be read, is no regular file, is larger than `LARGEST`, or not text.
    """
    largest = LARGEST.get(path.suffix)
    try:
        if path.exists() and not path.is_file():  # a pipe would block
            raise UnreadableRun(path, f"{path.name} cannot be read: not a regular file")
        if largest and path.stat().st_size > largest:
            raise UnreadableRun(path, f"{path.name} cannot be read: more than {largest:,} bytes")
        return path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableRun(path, f"{path.name} cannot be read: {first_line(error)}") from error


def _check_events(text: str) -> None:
    """Raise ValueError for aliases, which can expand exponentially, and for deep nesting."""
    depth = 0
    for event in yaml.parse(text, _LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"it has an alias, *{event.anchor}, which runs never write")
        if depth > DEEPEST:
            raise ValueError(f"it has more than {DEEPEST} levels")
