"""Tables of a diagnosis for the terminal."""

from math import isfinite

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ssl_norm.diagnose.diagnosis import LAYER_VALUES, RANDOM_INIT, Diagnosis
from ssl_norm.diagnose.judgement import zones_sentence
from ssl_norm.monitors import MONITORS
from ssl_norm.monitors.declare import load_monitor

_LAYER_HEADINGS = ("positive", "negative", "std", "RankMe")
_COLOURS = {"healthy": "green", "complete": "red"}


def print_diagnosis(found: Diagnosis, random_init: Diagnosis | None) -> None:
    """Print the tables, their notes, and the verdict."""
    console = Console()
    console.print(monitor_table(found, random_init))
    console.print(layer_table(found, random_init))
    for line in notes(found, random_init):
        console.print(line, highlight=False, soft_wrap=True, markup=False, style="dim")
    for line in verdict_lines(found):
        console.print(line, highlight=False, soft_wrap=True)


def monitor_table(found: Diagnosis, random_init: Diagnosis | None) -> Table:
    """Return a row per monitor: projections and features, each next to its random initialisation.

    All are of directions, as in a run. The last column is the value at complete collapse.
    """
    table = Table(title="monitors", title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for name in found.parts:
        table.add_column(name, justify="right", no_wrap=True)
        if random_init is not None:
            table.add_column("random", justify="right", style="dim", no_wrap=True)
    table.add_column("collapsed", justify="right", style="dim", no_wrap=True)
    ends = {name: _number(load_monitor(name).declaration.at_collapse) for name in MONITORS}
    for monitor, end in {**ends, "dimensions": ""}.items():
        cells = []
        for name, values in found.parts.items():
            cells.append(_number(values[monitor]))
            if random_init is not None:
                cells.append(_number(random_init.parts[name][monitor]))
        label = monitor if end else "most dimensions"
        table.add_row(label.replace("_", " "), *cells, end)
    return table


def layer_table(found: Diagnosis, random_init: Diagnosis | None) -> Table:
    """Return a row per layer: cosines, feature std, RankMe; red from the start of the collapse."""
    table = Table(title="layers", title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for heading in _LAYER_HEADINGS:
        table.add_column(heading, justify="right")
    random_rows = {row.layer: row for row in random_init.layers} if random_init else {}
    if random_rows:
        table.add_column("std, random", justify="right", style="dim")
    collapsed = False
    for row in found.layers:
        cells = [_number(getattr(row, name)) for name in LAYER_VALUES]
        if random_rows:
            cells.append(_number(random_rows[row.layer].feature_std))
        collapsed = collapsed or row.layer == found.collapse_begins_at
        table.add_row(escape(row.layer), *cells, style="red" if collapsed else "")
    return table


def verdict_lines(found: Diagnosis) -> list[str]:
    """Return the verdict and the evidence of each part, as marked-up lines."""
    lines = [
        f"{name}: {_coloured(found.judgements[name].verdict)} "
        f"({escape(found.judgements[name].evidence)})"
        for name in found.parts
    ]
    if found.collapse_begins_at is not None:
        lines.append(f"the collapse begins at layer {escape(found.collapse_begins_at)}")
    return [f"[bold]verdict: {_coloured(found.verdict)}[/]", *lines]


def notes(found: Diagnosis, random_init: Diagnosis | None) -> list[str]:
    """Return one line per basis of the tables and the verdict: inputs, zones, random network."""
    lines = [
        "monitors: of directions, rows of length 1, as in a run (LiDAR: of the vectors as they "
        "are); raw values are in the JSON",
        f"zones: {zones_sentence(list(found.parts))}",
    ]
    if random_init is None:
        return lines
    images = random_init.embeddings["features"].shape[1]
    return [*lines, f"random: of {images} images; {RANDOM_INIT}"]


def _coloured(verdict: str) -> str:
    """Return a verdict in its colour."""
    return f"[{_COLOURS.get(verdict, 'yellow')}]{verdict}[/]"


def _number(value: float) -> str:
    """Return a value with four decimals below 10, one above, or a dash where it is undefined."""
    if not isfinite(value):
        return "-"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"
