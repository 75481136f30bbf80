"""Where TensorBoard shows the columns of a row: tags, and the charts of the page on collapse."""

import re
from collections.abc import Iterable

TRAIN_COLUMNS = ("loss", "lr", "train_top1", "contrastive_accuracy", "images_per_second")
UNDRAWN_COLUMNS = ("step", "epoch", "verdict")
CHARTS = {
    "both cosines (1 and 1: complete collapse)": ("positive_cosine", "negative_cosine"),
    "feature std (1: even spread, 0: complete collapse)": ("feature_std",),
    "dimensions in use": ("rank_me", "effective_rank", "participation_ratio", "ne_sum"),
    "share of dead dimensions (1: complete collapse)": ("dead_dimensions",),
    "uniformity (0: complete collapse)": ("uniformity",),
    "off-diagonal correlation (1: all alike)": ("off_diagonal_correlation",),
    "decay of the spectrum": ("alpha_req", "cev_auc"),
    "loss (low alone is not progress)": ("loss",),
    "contrastive accuracy (high alone is not progress)": ("contrastive_accuracy",),
}
OTHER_MONITORS = "other monitors"


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
    present = [column for column in columns if column not in UNDRAWN_COLUMNS]
    page: dict[str, list[object]] = {
        title: ["Multiline", [f"^{tag_of(name)}$" for name in names]]
        for title, names in CHARTS.items()
        if any(name in present for name in names)
    }
    charted = [name for names in CHARTS.values() for name in names]
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
