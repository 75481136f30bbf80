"""tools/report.py: from run folders to a page, tables and figures."""

import glob
import io
import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table as ConsoleTable

from ssl_norm.commands.report_studies import all_drawings, in_study_order, studies_of, study_name
from ssl_norm.config import ReportConfig
from ssl_norm.errors import UserError
from ssl_norm.report.caveats import counted, left_out, to_mind
from ssl_norm.report.figures import Drawing
from ssl_norm.report.grouping import Group, group_keys, group_runs, without_repeats
from ssl_norm.report.page import Picture, Report, html_page, markdown_page
from ssl_norm.report.panels import WIDTH
from ssl_norm.report.provenance import commands, provenance
from ssl_norm.report.read import FINISHED, RunRecord, find_runs, read_runs
from ssl_norm.report.table import (
    Table,
    group_numbers,
    group_table,
    run_numbers,
    run_table,
    short_table,
)
from ssl_norm.train.run_folder import write_text

DOTS_PER_INCH = 200


def report(config: ReportConfig) -> None:
    """Read all runs below some folders, write the report beside them, and print its table and remarks.

    Raises:
        UserError: there is no such folder, no finished run in it, or the report cannot be written.
    """
    roots = find_roots(as_list(config.runs))
    runs = read_runs(find_runs(roots))
    finished = finished_runs(runs, as_list(config.runs))
    shown, repeats = without_repeats(finished)
    found = studies_of(shown)
    grid = [key for study in found for key in study.grid]
    keys = group_keys(shown, None if config.group_by is None else as_list(config.group_by), grid)
    groups = group_runs(in_study_order(shown, found), keys)
    drawings, remarks = all_drawings(groups, found)
    output = open_output(config.output, roots)
    content = compose(config, roots, runs, repeats, keys, groups, drawings, remarks)
    numbers = {f"{drawing.name}.csv": drawing.numbers for drawing in drawings if drawing.numbers}
    numbers |= {"table.csv": group_numbers(keys, groups), "runs.csv": run_numbers(keys, groups)}
    write(output, content, numbers)
    show(content, groups, output)


def as_list(value: object) -> list[str]:
    """Return one value or several as a list of text."""
    return [str(item) for item in (value if isinstance(value, list | tuple) else [value])]


def find_roots(given: Sequence[str]) -> list[Path]:
    """Return the folders that `runs=` names, globs resolved.

    Raises:
        UserError: one of them names no folder.
    """
    roots: list[Path] = []
    for text in given:
        path = Path(text).expanduser()
        found = (
            [path]
            if path.is_dir()
            else [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
        )
        folders = [match for match in found if match.is_dir()]
        if not folders:
            several = "; several stand in [ ]: runs=[a,b]" if "," in text else ""
            raise UserError(
                f"runs={text}: there is no such folder, and no folder matches it{several}"
            )
        roots += folders
    return roots


def finished_runs(runs: Sequence[RunRecord], given: Sequence[str]) -> list[RunRecord]:
    """Return the runs that the tables are of.

    Raises:
        UserError: there are none.
    """
    finished = [run for run in runs if run.state == FINISHED]
    if finished:
        return finished
    where = f"runs={','.join(given)}"
    if not runs:
        raise UserError(
            f"{where}: no run folder in it, which would hold config.yaml, metrics.csv or summary.json"
        )
    raise UserError(
        f"{where}: {counted(len(runs), 'run folder')}, none of a finished run: {'; '.join(left_out(runs, []))}"
    )


def open_output(given: str | None, roots: Sequence[Path]) -> Path:
    """Return the folder of the report, made if need be: inside the searched folder, or here where there are several."""
    usual = roots[0] / "report" if len(roots) == 1 else Path("report")
    folder = usual if given is None else Path(given).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        raise UserError(
            f"output={folder} cannot be written to: {error.strerror}; name another folder with output=..."
        ) from error
    return folder


def compose(
    config: ReportConfig,
    roots: Sequence[Path],
    runs: Sequence[RunRecord],
    repeats: Sequence[RunRecord],
    keys: Sequence[str],
    groups: Sequence[Group],
    drawings: Sequence[Drawing],
    remarks: Sequence[str],
) -> Report:
    """Return all that the report says."""
    shown = [run for group in groups for run in group.runs]
    others = len(runs) - len(shown)
    by = f", grouped by {', '.join(keys)}" if keys else ""
    names = sorted({study_name(run) for run in shown} - {""})
    return Report(
        title=config.title or ", ".join(names) or folder_of(roots).name or "runs",
        lead=f"{counted(len(shown), 'finished run')} in {counted(len(groups), 'group')}{by}"
        + (f"; {counted(others, 'run')} left out." if others else "."),
        provenance=provenance(shown),
        commands=commands(shown),
        left_out=left_out(runs, repeats),
        to_mind=[*remarks, *to_mind(keys, groups)],
        groups=group_table(keys, groups),
        runs=run_table(groups),
        evidence=[
            (run.name, str(run.summary["evidence"])) for run in shown if run.summary.get("evidence")
        ],
        pictures=[draw(drawing) for drawing in drawings],
    )


def folder_of(roots: Sequence[Path]) -> Path:
    """Return the folder that was searched, or the deepest one that holds all of them."""
    return Path(os.path.commonpath([root.resolve() for root in roots]))


def draw(drawing: Drawing) -> Picture:
    """Return a figure as a PNG."""
    file = io.BytesIO()
    drawing.figure.savefig(file, format="png", dpi=DOTS_PER_INCH)
    share = min(1.0, drawing.figure.get_size_inches()[0] / WIDTH)
    return Picture(drawing.name, file.getvalue(), drawing.caption, share, drawing.table)


def write(output: Path, content: Report, numbers: dict[str, Table]) -> None:
    """Write page, tables and figures."""
    for picture in content.pictures:
        (output / f"{picture.name}.png").write_bytes(picture.png)
    for name, table in numbers.items():
        write_text(output / name, table.csv())
    write_text(output / "table.md", markdown_page(content))
    write_text(output / "report.html", html_page(content))


def show(content: Report, groups: Sequence[Group], output: Path) -> None:
    """Print the remarks on stderr, and the table of groups and where the report is on stdout."""
    notes = Console(stderr=True)
    for kind, lines in (("left out", content.left_out), ("to mind", content.to_mind)):
        for line in lines:
            notes.print(f"{kind}: {line}", highlight=False, soft_wrap=True, markup=False)
    Console().print(console_table(content, groups))
    Console().print(
        f"written to {output / 'report.html'}, with table.md, table.csv, runs.csv and "
        f"{counted(len(content.pictures), 'figure')} beside it",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )


def console_table(content: Report, groups: Sequence[Group]) -> ConsoleTable:
    """Return the most telling columns of the table of groups, which fit a terminal."""
    short = short_table(groups)
    table = ConsoleTable(title=escape(f"{content.title}: {content.lead}"), title_justify="left")
    for heading in short.headings:
        table.add_column(escape(heading), overflow="fold")
    for row in short.rows:
        table.add_row(*map(escape, row))
    return table
