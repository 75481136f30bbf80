"""Where TensorBoard shows the columns of a row: tags, and the charts of the page on collapse."""

import re
from collections.abc import Iterable

from ssl_norm.monitors.declare import monitors_in_runs

TRAIN_COLUMNS = ("loss", "lr", "train_top1", "contrastive_accuracy", "images_per_second")
UNDRAWN_COLUMNS = ("step", "epoch", "verdict")
CHARTS = {
    "loss (low alone is not progress)": ("loss",),
    "contrastive accuracy (high alone is not progress)": ("contrastive_accuracy",),
}
OTHER_MONITORS = "other monitors"


def charts() -> dict[str, tuple[str, ...]]:
    """Return the columns of each chart by its title: those of monitors as declared, then `CHARTS`."""
    found: dict[str, tuple[str, ...]] = {}
    for name, function in monitors_in_runs().items():
        if title := function.declaration.chart:
            found[title] = (*found.get(title, ()), name)
    return found | CHARTS


def tag_of(column: str) -> str:
    """Return the tag of a column: those of training under `train`, all else, monitors, under `collapse`."""
    return f"{'train' if column in TRAIN_COLUMNS else 'collapse'}/{column}"


def layout(columns: Iterable[str]) -> dict[str, dict[str, list[object]]]:
    """Return the page `collapse` with the charts that the columns of a run fill.

    A chart is the same in every run that has it, since TensorBoard lays over each other only charts that are equal.

    Args:
        columns: of a row; a monitor that no chart names goes into one of its own.

    Returns:
        What `SummaryWriter.add_custom_scalars` takes; its tags are regular expressions.
    """
    known_charts = charts()
    present = [column for column in columns if column not in UNDRAWN_COLUMNS]
    page: dict[str, list[object]] = {
        title: ["Multiline", [f"^{tag_of(name)}$" for name in names]]
        for title, names in known_charts.items()
        if any(name in present for name in names)
    }
    charted = [name for names in known_charts.values() for name in names]
    if any(column not in (*charted, *TRAIN_COLUMNS) for column in present):
        known = "|".join(re.escape(name) for name in charted)
        page[OTHER_MONITORS] = ["Multiline", [f"^collapse/(?!({known})$)"]]
    return {"collapse": page}


def finetuning_layout(columns: Iterable[str]) -> dict[str, dict[str, list[object]]]:
    """Return the page `finetune`: accuracies under all statistics in one chart, loss, training accuracy.

    Args:
        columns: of a row; they are the same in every run.

    Returns:
        What `SummaryWriter.add_custom_scalars` takes; its tags are regular expressions.
    """
    return {
        "finetune": {
            "test top-1 by statistics": ["Multiline", ["^top1/"]],
            "loss on training views": ["Multiline", [f"^{tag_of('loss')}$"]],
            "top-1 on training views": ["Multiline", [f"^{tag_of('train_top1')}$"]],
        }
    }
