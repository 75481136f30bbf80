"""Report on run folders: tools/report.py."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table as ConsoleTable

from ssl_norm.console import say, show
from ssl_norm.errors import UserError
from ssl_norm.files import write_bytes, write_text
from ssl_norm.reporting.caveats import left_out, to_mind
from ssl_norm.reporting.frame import all_runs, group_keys, group_runs, without_repeats
from ssl_norm.reporting.page import html_page, markdown_page, parts_of
from ssl_norm.reporting.read import FINISHED, RunRecord, find_runs, read_runs
from ssl_norm.reporting.studies import all_figures, figures_named, in_study_order, studies_of
from ssl_norm.reporting.table import (
    Table,
    difference_numbers,
    differences,
    group_numbers,
    run_numbers,
    short_table,
)
from ssl_norm.settings.tools import ReportSettings
from ssl_norm.text import counted


def report(settings: ReportSettings) -> Path:
    """Write a report on the runs in some folders, print table and caveats, and return its folder.

    Raises:
        UserError: there is no such folder or figure, no finished run, or the report cannot be
            written.
    """
    draws = figures_named(None if settings.figures is None else _as_list(settings.figures))
    roots = _find_roots(_as_list(settings.runs))
    runs = read_runs(find_runs(roots))
    finished, repeats = without_repeats(_finished_runs(runs, _as_list(settings.runs)))
    found = studies_of(finished)
    given = None if settings.group_by is None else _as_list(settings.group_by)
    grid = [key for study in found for key in study.grid]
    keys = group_keys(finished, given, grid)
    groups = group_runs(in_study_order(finished, found), keys)
    files, remarks = all_figures(groups, found, draws)
    shown, paired = all_runs(groups), differences(groups)
    output = _open_output(settings.output, roots)
    names = sorted({run.study for run in shown} - {""})
    searched = Path(os.path.commonpath([root.resolve() for root in roots]))
    title = settings.title or ", ".join(names) or searched.name or "runs"
    lead = f"{counted(len(shown), 'finished run')} in {counted(len(groups), 'group')}"
    lead += f", grouped by {', '.join(keys)}" if keys else ""
    others = len(runs) - len(shown)
    lead += f"; {counted(others, 'run')} left out." if others else "."
    omitted, limits = left_out(runs, repeats), [*remarks, *to_mind(keys, groups)]
    text = markdown_page(title, lead, parts_of(keys, groups, paired, omitted, limits, files))
    numbers = {file.name: file.numbers for file in files if file.numbers}
    numbers |= {"table": group_numbers(keys, groups), "runs": run_numbers(keys, groups)}
    if paired:
        numbers["differences"] = difference_numbers(paired)
    for file in files:
        write_bytes(output / f"{file.name}.png", file.png)
    for name, table in numbers.items():
        write_text(output / f"{name}.csv", table.csv())
    write_text(output / "table.md", text)
    write_text(output / "report.html", html_page(title, text, files))
    say(*(f"left out: {line}" for line in omitted), *(f"note: {line}" for line in limits))
    show([_console_table(f"{title}: {lead}", short_table(keys, groups))])
    say(
        f"written to {output / 'report.html'}, with table.md, table.csv, runs.csv and "
        f"{counted(len(files), 'figure')} next to it",
        stderr=False,
    )
    return output


def _as_list(value: object) -> list[str]:
    return [str(item) for item in (value if isinstance(value, list | tuple) else [value])]


def _find_roots(given: Sequence[str]) -> list[Path]:
    roots: list[Path] = []
    for text in given:
        path = Path(text).expanduser()
        matches = (
            [path] if path.is_dir() else map(Path, sorted(glob.glob(str(path), recursive=True)))
        )
        folders = [match for match in matches if match.is_dir()]
        if not folders:
            several = "; give several as runs=[a,b]" if "," in text else ""
            raise UserError(
                f"runs={text}: there is no such folder, and no folder matches it{several}"
            )
        roots += folders
    return roots


def _finished_runs(runs: Sequence[RunRecord], given: Sequence[str]) -> list[RunRecord]:
    finished = [run for run in runs if run.state == FINISHED]
    if finished:
        return finished
    where = f"runs={','.join(given)}"
    if not runs:
        raise UserError(
            f"{where}: there is no run folder (with config.yaml, metrics.csv or summary.json); "
            "name the folder of a run, or a folder that holds runs"
        )
    raise UserError(
        f"{where}: {counted(len(runs), 'run folder')}, none of a finished run: "
        f"{'; '.join(left_out(runs, []))}; finish one, for which resume=true continues it"
    )


def _open_output(given: str | None, roots: Sequence[Path]) -> Path:
    """Make the folder of the report, by default in the searched or else in the current folder."""
    usual = roots[0] / "report" if len(roots) == 1 else Path("report")
    folder = usual if given is None else Path(given).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        raise UserError(
            f"output={folder} cannot be written to: {error.strerror}; "
            "name another folder with output=..."
        ) from error
    return folder


def _console_table(title: str, content: Table) -> ConsoleTable:
    table = ConsoleTable(title=title, title_justify="left")
    for heading in content.headings:
        table.add_column(heading, overflow="fold")
    for row in content.rows:
        table.add_row(*row)
    return table
