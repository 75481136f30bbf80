"""The heat map over layers and steps of one run of each group."""

from collections.abc import Iterator, Mapping, Sequence

from ssl_norm.figures import layer_figure
from ssl_norm.monitors.layers import LayerRow
from ssl_norm.report.figures import Drawing
from ssl_norm.report.grouping import Group
from ssl_norm.report.panels import numbered


def layer_figures(groups: Sequence[Group]) -> Iterator[Drawing]:
    """Yield the negative cosine of every layer over the steps, of the first run of each group that recorded it."""
    chosen = [(group, run) for group in groups for run in [r for r in group.runs if r.layers][:1]]
    for index, (group, run) in enumerate(chosen):
        yield Drawing(
            numbered("layers", index, len(chosen)),
            layer_figure([layer_row(row) for row in run.layers]),
            f"Where it collapses, {group.label}: negative cosine of every layer over the steps, and the norm of its "
            f"gradient. One run of {len(group.runs)}: {run.name}, seed {run.seed}. Grey: not measurable.",
        )


def layer_row(row: Mapping[str, str]) -> LayerRow:
    """Return a row of layers.csv with its numbers as numbers; an empty cell is NaN."""
    values = {
        name: float(row.get(name) or "nan")
        for name in LayerRow._fields
        if name not in ("step", "layer")
    }
    return LayerRow(step=int(row["step"]), layer=row["layer"], **values)
