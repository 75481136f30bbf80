"""Accuracy of one run over its steps, under each kind of statistics."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ssl_norm.figures.style import BLUE, GREEN, GREY, VERMILION, drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ScoreRow = Mapping[str, float | int | str]
COLOURS = {"population": BLUE, "exact": VERMILION, "batch": GREEN}
DASHES = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (4, 1.5, 1, 1.5)))


def line_name(row: ScoreRow) -> str:
    """Return what a row of evaluations.csv is the accuracy of.

    Example:
        >>> line_name(
        ...     {
        ...         "split": "test",
        ...         "domain": "clean",
        ...         "statistics": "exact",
        ...         "statistics_from": "all",
        ...     }
        ... )
        'exact of all'
    """
    origin = row["statistics_from"]
    parts = [f"{row['statistics']}{f' of {origin}' if origin else ''}"]
    parts += [] if row["domain"] == "clean" else [str(row["domain"])]
    parts += [] if row["split"] == "test" else ["training images"]
    return ", ".join(parts)


def accuracies(rows: Sequence[ScoreRow]) -> dict[str, dict[int, float]]:
    """Return the accuracy by name and step; of several rows with the same of both, the first one's."""
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        found.setdefault(line_name(row), {}).setdefault(int(row["step"]), float(row["top1"]))
    return found


def accuracy_figure(rows: Sequence[ScoreRow]) -> "Figure":
    """Draw the accuracy over the steps, a line for each of statistics, domain and split that has several steps.

    Args:
        rows: of evaluations.csv.

    Raises:
        ValueError: nothing was scored at several steps.
    """
    lines = {name: points for name, points in accuracies(rows).items() if len(points) > 1}
    if not lines:
        raise ValueError("rows: scores at two steps or more expected")
    with drawing(6.4, 3.6) as figure:
        axes = figure.subplots()
        used: dict[str, int] = {}
        for name, points in lines.items():
            kind = name.replace(",", " ").split()[0]
            dash = DASHES[used.get(kind, 0) % len(DASHES)]
            used[kind] = used.get(kind, 0) + 1
            axes.plot(
                list(points),
                list(points.values()),
                color=COLOURS.get(kind, GREY),
                ls=dash,
                label=name,
            )
        axes.set_xlabel("step")
        axes.set_ylabel("top-1")
        axes.grid(visible=True, axis="y")
        axes.legend(title="statistics", frameon=False)
    return figure
