"""Heat maps over layers and steps, for one run of each group."""

from collections.abc import Iterator, Mapping, Sequence
from math import nan
from typing import Any

from ssl_norm.figures import layer_figure
from ssl_norm.monitors.layers import LayerRow
from ssl_norm.report.figures.parts import FigureFile, numbered
from ssl_norm.report.frame import Group


def layers(groups: Sequence[Group]) -> Iterator[FigureFile]:
    """Yield the negative cosine of every layer, of the first run of each group that recorded it."""
    chosen = [(group, run) for group in groups for run in [r for r in group.runs if r.layers][:1]]
    for index, (group, run) in enumerate(chosen):
        yield FigureFile(
            numbered("layers", index, len(chosen)),
            layer_figure([_layer_row(row) for row in run.layers]),
            f"Where it collapses, {group.label}: negative cosine of every layer over the steps, "
            f"and the norm of its gradient. One run of {len(group.runs)}: {run.name}, seed "
            f"{run.seed}. Grey: not measurable.",
        )


def _layer_row(row: Mapping[str, Any]) -> LayerRow:
    return LayerRow(*(row.get(name, nan) for name in LayerRow._fields))
