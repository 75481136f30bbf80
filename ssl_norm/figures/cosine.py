"""Both cosines and the feature std over the steps of one or several runs."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from math import ceil, isfinite
from typing import TYPE_CHECKING, NamedTuple

from ssl_norm.figures.style import BLUE, GREY, VERDICT_COLOURS, VERMILION, drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_Run = tuple[str, Sequence[Mapping[str, float | int | str]]]  # title and rows of metrics.csv
# The dashed positive cosine is drawn over the negative one, so that both are visible at 1.
_LINES = (
    ("negative_cosine", VERMILION, "-"),
    ("positive_cosine", BLUE, (0, (4, 2))),
    ("feature_std", GREY, (0, (1, 1.5))),
)
_COLUMNS = 4
_SHADE = 0.12  # opacity
_LETTER = 0.08  # width of a letter in inches


class _VerdictSpan(NamedTuple):  # consecutive steps with one verdict
    verdict: str
    start: float
    end: float


def cosine_figure(runs: Sequence[_Run], collapsed_at: Sequence[float | None] = ()) -> "Figure":
    """Draw both cosines and the feature std over steps, one panel per run, with shaded verdicts.

    At complete collapse both cosines are 1 and the feature std is 0. A vertical line marks each
    change of verdict. Steps whose verdict is not healthy are shaded, and the verdict is named above
    the panel if there is room.

    Args:
        runs: title and rows of metrics.csv of each run. Rows have step, positive_cosine,
            negative_cosine and feature_std (NaN: a gap), and may have a verdict.
        collapsed_at: for each run, the step in summary.json at which its final collapse began, from
            which its last verdict is shaded, or None to begin at the first row with that verdict;
            empty: None for all.

    Raises:
        ValueError: no runs, a run without rows, or `collapsed_at` of another length.
    """
    if not runs:
        raise ValueError("runs: at least one run expected, got none")
    for title, rows in runs:
        if not rows:
            raise ValueError(f"runs: {title!r} has no rows; wait until it has logged a step")
    began = list(collapsed_at) or [None] * len(runs)
    if len(began) != len(runs):
        expected = f"one step for each of {len(runs)} runs expected"
        raise ValueError(f"collapsed_at: {expected}, got {len(began)}")
    spans = [_verdict_spans(run, step) for run, step in zip(runs, began, strict=True)]
    columns = min(_COLUMNS, len(runs))
    lines = ceil(len(runs) / columns)
    width, height = (7.0, 3.6) if len(runs) == 1 else (0.8 + 3.1 * columns, 0.8 + 2.6 * lines)
    with drawing(width, height) as figure:
        grid = figure.subplots(lines, columns, sharey=True, squeeze=False)
        panels = list(grid.flat)
        for axes, run, found in zip(panels, runs, spans, strict=False):
            _draw_run(axes, run, found, 0.85 * width / columns)
        for axes in panels[len(runs) :]:
            axes.set_visible(False)
        for axes in grid[:, 0]:
            axes.set_ylabel("cosine, feature std")
        values = [float(row[name]) for _, rows in runs for row in rows for name, _, _ in _LINES]
        panels[0].set_ylim(min([-0.1, *(v - 0.05 for v in values if isfinite(v))]), 1.04)
        _add_legend(figure, panels[0], spans)
    return figure


def _add_legend(figure: "Figure", axes: "Axes", spans: Sequence[Sequence[_VerdictSpan]]) -> None:
    from matplotlib.patches import Patch

    negative, positive, deviation = axes.get_legend_handles_labels()[0]
    shades = [
        Patch(color=VERDICT_COLOURS.get(verdict, GREY), alpha=_SHADE, linewidth=0, label=verdict)
        for verdict in dict.fromkeys(span.verdict for of_run in spans for span in of_run)
        if verdict != "healthy"
    ]
    handles = [positive, negative, deviation, *shades]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def _draw_run(axes: "Axes", run: _Run, spans: Sequence[_VerdictSpan], width: float) -> None:
    """Draw one run on axes of about `width` inches."""
    title, rows = run
    steps = [float(row["step"]) for row in rows]
    marker = "o" if len(steps) == 1 else ""
    for name, colour, style in _LINES:
        values, label = [float(row[name]) for row in rows], name.replace("_", " ")
        axes.plot(steps, values, color=colour, linestyle=style, marker=marker, label=label)
    axes.grid()
    axes.set_xlabel("step")
    axes.set_title(title, pad=18)
    axes.margins(x=0)
    if len(steps) == 1 or {span.verdict for span in spans} <= {"healthy"}:
        return
    axes.set_xlim(steps[0], steps[-1])
    inches = width / (steps[-1] - steps[0])
    for verdict, start, end in spans:
        colour = VERDICT_COLOURS.get(verdict, GREY)
        if verdict != "healthy":
            axes.axvspan(start, end, color=colour, alpha=_SHADE, linewidth=0)
        axes.axvline(start, color=colour, linewidth=1)
        if (end - start) * inches >= _LETTER * len(verdict):
            place, across = ((start + end) / 2, 1), axes.get_xaxis_transform()
            text = axes.annotate(verdict, place, (0, 3), across, "offset points", ha="center")
            text.set(fontsize=9, color=colour, fontweight="bold")


def _verdict_spans(run: _Run, collapsed_at: float | None = None) -> list[_VerdictSpan]:
    """Return the spans of equal verdicts, each up to the start of the next.

    The last span begins at `collapsed_at`, because a collapse is recognised some steps after it
    began.

    Example:
        >>> verdicts = ("healthy", "healthy", "complete", "complete")
        >>> rows = [{"step": 10 * i, "verdict": verdict} for i, verdict in enumerate(verdicts)]
        >>> [tuple(span) for span in _verdict_spans(("a run", rows))]
        [('healthy', 0.0, 20.0), ('complete', 20.0, 30.0)]
    """
    _, rows = run
    starts = [
        (verdict, float(next(group)["step"]))
        for verdict, group in groupby(rows, key=lambda row: str(row.get("verdict", "")))
    ]
    if collapsed_at is not None:
        began = max(collapsed_at, float(rows[0]["step"]))
        earlier = [(verdict, start) for verdict, start in starts[:-1] if start < began]
        starts = [*earlier, (starts[-1][0], began)]
    ends = [start for _, start in starts[1:]] + [float(rows[-1]["step"])]
    spans = zip(starts, ends, strict=True)
    return [_VerdictSpan(verdict, start, end) for (verdict, start), end in spans if verdict]
