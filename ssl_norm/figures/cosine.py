"""Both cosines and the feature std over the steps of one or several runs."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from math import ceil, isfinite
from typing import TYPE_CHECKING, NamedTuple

from ssl_norm.figures.style import BLUE, GREY, VERDICT_COLOURS, VERMILION, drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MetricRow = Mapping[str, float | int | str]
# The negative cosine lies below the positive one, dashed, so that both show where they meet at 1.
LINES = (
    ("negative_cosine", VERMILION, "-"),
    ("positive_cosine", BLUE, (0, (4, 2))),
    ("feature_std", GREY, (0, (1, 1.5))),
)
COLUMNS = 4
SHADE = 0.12  # opacity
LETTER = 0.08  # inches of a letter of a verdict


def cosine_figure(
    runs: Sequence[tuple[str, Sequence[MetricRow]]], collapsed_at: Sequence[float | None] = ()
) -> "Figure":
    """Draw positive cosine, negative cosine and feature std over steps, a panel a run, verdicts as shades.

    At complete collapse both cosines are 1 and the feature std is 0. Each change of verdict is a vertical line; steps
    of a verdict other than healthy are shaded, and named above the panel where they have room for the word.

    Args:
        runs: title and rows of metrics.csv of each run; of a row step, positive_cosine, negative_cosine and
            feature_std are drawn (NaN: a gap), and verdict where it has one.
        collapsed_at: of each run the step at which the collapse that it ends in began (summary.json), from which its
            last verdict is shaded; None: where its rows have it. Empty: None for all.

    Raises:
        ValueError: no runs, a run without rows, or steps for another number of runs.
    """
    if not runs:
        raise ValueError("runs: at least one run expected, got none")
    for title, rows in runs:
        if not rows:
            raise ValueError(f"runs: {title!r} has no rows; wait until it has logged a step")
    if collapsed_at and len(collapsed_at) != len(runs):
        raise ValueError(
            f"collapsed_at: a step of each of {len(runs)} runs expected, got {len(collapsed_at)}"
        )
    spans = [
        verdict_spans(rows, began)
        for (_, rows), began in zip(runs, collapsed_at or [None] * len(runs), strict=True)
    ]
    columns = min(COLUMNS, len(runs))
    lines = ceil(len(runs) / columns)
    width, height = (7.0, 3.6) if len(runs) == 1 else (0.8 + 3.1 * columns, 0.8 + 2.6 * lines)
    with drawing(width, height) as figure:
        grid = figure.subplots(lines, columns, sharey=True, squeeze=False)
        panels = list(grid.flat)
        for axes, (title, rows), found in zip(panels, runs, spans, strict=False):
            draw_run(axes, title, rows, found, 0.85 * width / columns)
        for axes in panels[len(runs) :]:
            axes.set_visible(False)
        for axes in grid[:, 0]:
            axes.set_ylabel("cosine, feature std")
        panels[0].set_ylim(lowest(runs), 1.04)
        add_legend(figure, panels[0], spans)
    return figure


def add_legend(figure: "Figure", axes: "Axes", spans: Sequence[Sequence["VerdictSpan"]]) -> None:
    """Name the three lines, and the shades of the verdicts that the runs have."""
    from matplotlib.patches import Patch

    negative, positive, deviation = axes.get_legend_handles_labels()[0]
    verdicts = dict.fromkeys(span.verdict for of_run in spans for span in of_run)
    shades = [
        Patch(color=VERDICT_COLOURS.get(verdict, GREY), alpha=SHADE, linewidth=0, label=verdict)
        for verdict in verdicts
        if verdict != "healthy"
    ]
    figure.legend(
        handles=[positive, negative, deviation, *shades],
        loc="outside lower center",
        ncols=3 + len(shades),
    )


def draw_run(
    axes: "Axes",
    title: str,
    rows: Sequence[MetricRow],
    spans: Sequence["VerdictSpan"],
    width: float,
) -> None:
    """Draw one run on axes of about `width` inches."""
    steps = [float(row["step"]) for row in rows]
    for name, colour, style in LINES:
        values = [float(row[name]) for row in rows]
        marker = "o" if len(steps) == 1 else ""
        axes.plot(
            steps,
            values,
            color=colour,
            linestyle=style,
            marker=marker,
            label=name.replace("_", " "),
        )
    axes.grid()
    axes.set_xlabel("step")
    axes.set_title(title, pad=18)
    axes.margins(x=0)
    if len(steps) == 1 or {span.verdict for span in spans} <= {"healthy"}:
        return
    axes.set_xlim(steps[0], steps[-1])
    inches = width / (steps[-1] - steps[0])
    for span in spans:
        has_room = (span.end - span.start) * inches >= LETTER * len(span.verdict)
        draw_verdict(axes, span, has_room)


class VerdictSpan(NamedTuple):
    """Steps in a row that have one verdict."""

    verdict: str
    start: float
    end: float


def verdict_spans(
    rows: Sequence[MetricRow], collapsed_at: float | None = None
) -> list[VerdictSpan]:
    """Return the stretches of one verdict, each up to where the next begins; rows without one belong to none.

    A verdict is sure only some steps after the first that it is dated to: the last one begins at `collapsed_at`.

    Example:
        >>> words = ("healthy", "healthy", "complete", "complete")
        >>> rows = [{"step": 10 * i, "verdict": word} for i, word in enumerate(words)]
        >>> [tuple(span) for span in verdict_spans(rows)]
        [('healthy', 0.0, 20.0), ('complete', 20.0, 30.0)]
    """
    starts = [
        (verdict, float(next(group)["step"]))
        for verdict, group in groupby(rows, key=lambda row: str(row.get("verdict", "")))
    ]
    if collapsed_at is not None:
        began = max(collapsed_at, float(rows[0]["step"]))
        starts = [
            *((word, start) for word, start in starts[:-1] if start < began),
            (starts[-1][0], began),
        ]
    ends = [start for _, start in starts[1:]] + [float(rows[-1]["step"])]
    return [
        VerdictSpan(verdict, start, end)
        for (verdict, start), end in zip(starts, ends, strict=True)
        if verdict
    ]


def draw_verdict(axes: "Axes", span: VerdictSpan, has_room: bool) -> None:
    """Shade a stretch of a verdict, and name it above the panel where there is room."""
    colour = VERDICT_COLOURS.get(span.verdict, GREY)
    if span.verdict != "healthy":
        axes.axvspan(span.start, span.end, color=colour, alpha=SHADE, linewidth=0)
    axes.axvline(span.start, color=colour, linewidth=1)
    if has_room:
        axes.annotate(
            span.verdict,
            ((span.start + span.end) / 2, 1),
            xycoords=axes.get_xaxis_transform(),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            color=colour,
            fontweight="bold",
        )


def lowest(runs: Sequence[tuple[str, Sequence[MetricRow]]]) -> float:
    """Return the lower end of the axis: -0.1, or less where a run's cosines are."""
    values = [float(row[name]) for _, rows in runs for row in rows for name, _, _ in LINES]
    return min([-0.1, *(value - 0.05 for value in values if isfinite(value))])
