"""The picture of a run: both cosines and the feature deviation over time."""

from collections.abc import Sequence
from pathlib import Path

from ssl_norm.train.run_folder import read_metrics


def draw_collapse(runs: Sequence[tuple[str, Path]], path: Path) -> None:
    """Draw the cosines of one or several runs side by side.

    Args:
        runs: (title, metrics.csv) of each run.
        path: the PNG to write.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1 + 3.2 * len(runs), 3.2), layout="constrained")
    axes = figure.subplots(1, len(runs), sharey=True, squeeze=False)[0]
    for axis, (title, metrics) in zip(axes, runs, strict=True):
        rows = read_metrics(metrics)
        steps = [row["step"] for row in rows]
        for name, colour in (
            ("positive_cosine", "tab:blue"),
            ("negative_cosine", "tab:red"),
            ("feature_std", "tab:grey"),
        ):
            axis.plot(
                steps,
                [row[name] for row in rows],
                color=colour,
                label=name.replace("_", " "),
            )
        axis.set(title=title, xlabel="step", ylim=(-0.3, 1.05))
        axis.grid(alpha=0.3)
    axes[0].legend(loc="lower right", fontsize="small")
    figure.savefig(path, dpi=120)
