"""Both cosines and the feature std of a run over its steps."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from math import isfinite
from typing import TYPE_CHECKING

from ssl_norm.figures.style import BLUE, GREY, VERDICT_COLOURS, VERMILION, drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_Rows = Sequence[Mapping[str, float | int | str]]
# The dashed positive cosine is drawn over the negative one, so that both are visible at 1.
_LINES = (
    ("negative_cosine", VERMILION, "-"),
    ("positive_cosine", BLUE, (0, (4, 2))),
    ("feature_std", GREY, (0, (1, 1.5))),
)
_SHADE = 0.12  # opacity
_WIDTH = 0.85 * 7.0  # of the axes, in inches
_LETTER = 0.08  # width of a letter in inches
_VerdictSpan = tuple[str, float, float]  # verdict, first and last step


def cosine_figure(title: str, rows: _Rows, collapsed_at: float | None = None) -> "Figure":
    """Draw both cosines and the feature std of a run over its steps, with shaded verdicts.

    At complete collapse both cosines are 1 and the feature std is 0. A vertical line marks each
    change of verdict. Steps whose verdict is not healthy are shaded, and the verdict is named above
    the panel if there is room.

    Args:
        title: text above the panel.
        rows: rows of metrics.csv, with step, positive_cosine, negative_cosine and feature_std (NaN:
            a gap), and perhaps a verdict.
        collapsed_at: the step in summary.json at which the final collapse began, from which the
            last verdict is shaded; None: from its first row.

    Raises:
        ValueError: there are no rows.
    """
    if not rows:
        raise ValueError(f"rows: {title!r} has none; wait until it has logged a step")
    from matplotlib.patches import Patch

    steps, spans = [float(row["step"]) for row in rows], _verdict_spans(rows, collapsed_at)
    with drawing(7.0, 3.6) as figure:
        axes = figure.subplots()
        for name, colour, style in _LINES:
            values, label = [float(row[name]) for row in rows], name.replace("_", " ")
            marker = "o" if len(steps) == 1 else ""
            axes.plot(steps, values, color=colour, linestyle=style, marker=marker, label=label)
        axes.grid()
        axes.set(xlabel="step", ylabel="cosine, feature std")
        axes.set_title(title, pad=18)
        axes.margins(x=0)
        if len(steps) > 1 and not {verdict for verdict, _, _ in spans} <= {"healthy"}:
            axes.set_xlim(steps[0], steps[-1])
            _shade_verdicts(axes, spans, _WIDTH / (steps[-1] - steps[0]))
        lowest = [float(row[name]) - 0.05 for row in rows for name, _, _ in _LINES]
        axes.set_ylim(min([-0.1, *filter(isfinite, lowest)]), 1.04)
        negative, positive, deviation = axes.get_legend_handles_labels()[0]
        shades = [
            Patch(color=VERDICT_COLOURS.get(name, GREY), alpha=_SHADE, linewidth=0, label=name)
            for name in dict.fromkeys(verdict for verdict, _, _ in spans)
            if name != "healthy"
        ]
        handles = [positive, negative, deviation, *shades]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _shade_verdicts(axes: "Axes", spans: Sequence[_VerdictSpan], inches: float) -> None:
    for verdict, start, end in spans:
        colour = VERDICT_COLOURS.get(verdict, GREY)
        if verdict != "healthy":
            axes.axvspan(start, end, color=colour, alpha=_SHADE, linewidth=0)
        axes.axvline(start, color=colour, linewidth=1)
        if (end - start) * inches >= _LETTER * len(verdict):
            place, across = ((start + end) / 2, 1), axes.get_xaxis_transform()
            text = axes.annotate(verdict, place, (0, 3), across, "offset points", ha="center")
            text.set(fontsize=9, color=colour, fontweight="bold")


def _verdict_spans(rows: _Rows, collapsed_at: float | None = None) -> list[_VerdictSpan]:
    """Return the spans of equal verdicts, each up to the start of the next.

    The last span begins at `collapsed_at`, because a collapse is recognised some steps after it
    began.
    """
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
    return [(verdict, start, end) for (verdict, start), end in spans if verdict]
