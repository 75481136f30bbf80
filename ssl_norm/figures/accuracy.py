"""Accuracy of one run over its steps, by kind of statistics."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ssl_norm.figures.style import BLUE, GREEN, GREY, VERMILION, drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ScoreRow = Mapping[str, float | int | str]
_COLOURS = {"population": BLUE, "exact": VERMILION, "batch": GREEN}
_DASHES = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (4, 1.5, 1, 1.5)))


def accuracies(rows: Sequence[_ScoreRow]) -> dict[str, dict[int, float]]:
    """Return top-1 by the name of its line and by step, from rows of evaluations.csv.

    A name is for example `exact of all`. If several rows have the same name and step, the first
    counts.
    """
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        origin = row["statistics_from"]
        parts = [f"{row['statistics']}{f' of {origin}' if origin else ''}"]
        parts += [] if row["domain"] == "clean" else [str(row["domain"])]
        parts += [] if row["split"] == "test" else ["training images"]
        found.setdefault(", ".join(parts), {}).setdefault(int(row["step"]), float(row["top1"]))
    return found


def accuracy_figure(rows: Sequence[_ScoreRow]) -> "Figure":
    """Draw top-1 in evaluations.csv over the steps, by kind of statistics, domain and split.

    Raises:
        ValueError: no line has several steps.
    """
    lines = {name: points for name, points in accuracies(rows).items() if len(points) > 1}
    if not lines:
        raise ValueError("rows: scores of at least two steps expected")
    with drawing(6.4, 3.6) as figure:
        axes = figure.subplots()
        used: Counter[str] = Counter()
        for name, points in lines.items():
            kind = name.replace(",", " ").split()[0]
            dash = _DASHES[used[kind] % len(_DASHES)]
            used[kind] += 1
            colour = _COLOURS.get(kind, GREY)
            axes.plot(list(points), list(points.values()), color=colour, ls=dash, label=name)
        axes.set(xlabel="step", ylabel="top-1")
        axes.grid(visible=True, axis="y")
        axes.legend(title="statistics", frameon=False)
    return figure
