"""Tags of the columns of a row in TensorBoard, and its pages of charts."""

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
Page = dict[str, list[object]]


def tag_of(column: str) -> str:
    """Return the tag of a column: `train/...` for those of training, `collapse/...` for others."""
    return f"{'train' if column in TRAIN_COLUMNS else 'collapse'}/{column}"


def layout(columns: Iterable[str]) -> dict[str, Page]:
    """Return the page of charts of a run, `collapse` or, for a classifier, `finetune`.

    Args:
        columns: of a row.

    Returns:
        An argument of `SummaryWriter.add_custom_scalars`; its tags are regular expressions.
    """
    present = [column for column in columns if column not in UNDRAWN_COLUMNS]
    if "train_top1" in present:
        return {"finetune": _finetuning_page()}
    return {"collapse": _collapse_page(present)}


def charts() -> dict[str, tuple[str, ...]]:
    """Return the columns of each chart by title, those of monitors before `CHARTS`."""
    found: dict[str, tuple[str, ...]] = {}
    for name, function in monitors_in_runs().items():
        if title := function.declaration.chart:
            found[title] = (*found.get(title, ()), name)
    return found | CHARTS


def _collapse_page(present: list[str]) -> Page:
    """Return the charts with columns of a run, and one for monitors without a chart.

    A chart is the same in every run, because TensorBoard merges only equal charts.
    """
    known_charts = charts()
    page: Page = {
        title: _chart(*(f"^{tag_of(name)}$" for name in names))
        for title, names in known_charts.items()
        if any(name in present for name in names)
    }
    charted = [name for names in known_charts.values() for name in names]
    if any(column not in (*charted, *TRAIN_COLUMNS) for column in present):
        known = "|".join(re.escape(name) for name in charted)
        page[OTHER_MONITORS] = _chart(f"^collapse/(?!({known})$)")
    return page


def _finetuning_page() -> Page:
    return {
        "test top-1 by statistics": _chart("^top1/"),
        "loss on training views": _chart(f"^{tag_of('loss')}$"),
        "top-1 on training views": _chart(f"^{tag_of('train_top1')}$"),
    }


def _chart(*tags: str) -> list[object]:
    return ["Multiline", list(tags)]
