"""Table and figure of some runs: python benchmarks/study_table.py RUN_FOLDER ... --figure cosines.png.

Reads summary.json, metrics.csv, config.yaml and, where tools/linear_eval.py wrote it, linear_eval.json of each run.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ssl_norm.figures import cosine_figure
from ssl_norm.train.run_folder import read_metrics

COLUMNS = (
    "method | projector / predictor | seed | positive cosine | negative cosine | feature std | verdict | collapsed at"
    " | linear top-1 | kNN top-1 | random linear | random kNN | images/s"
)


def title(summary: dict[str, Any]) -> str:
    """Return how a run is called in table and figure."""
    norm = summary["norm"]
    return f"{summary['method']} {norm['projector']}/{norm['predictor']}"


def table_row(folder: Path) -> str:
    """Return a run as a row of a Markdown table."""
    summary = json.loads((folder / "summary.json").read_text())
    evaluated = folder / "linear_eval.json"
    linear: dict[str, Any] = json.loads(evaluated.read_text()) if evaluated.exists() else {}
    norm = summary["norm"]
    steps = f"step {summary['collapsed_at_step']} of {summary['steps']}"
    top1 = linear.get("top1", summary.get("linear_top1"))
    random_top1 = linear.get("top1_random_init", summary.get("linear_top1_random_init"))
    cells = [
        summary["method"],
        f"{norm['projector']} / {norm['predictor']}",
        str(summary["seed"]),
        *(f"{summary[name]:.4f}" for name in ("positive_cosine", "negative_cosine", "feature_std")),
        summary["verdict"],
        steps if summary["collapsed_at_step"] else "-",
        share(top1),
        share(linear.get("knn_top1")),
        share(random_top1),
        share(linear.get("knn_top1_random_init")),
        f"{summary['images_per_second']:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def share(value: float | None) -> str:
    """Return a fraction with three decimals, or a dash where it was not measured."""
    return "-" if value is None else f"{value:.3f}"


def main() -> None:
    """Print the table, and draw the figure where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument(
        "--figure", type=Path, help="PNG to draw the cosines to, a panel for each run"
    )
    options = parser.parse_args()
    environments = [
        OmegaConf.load(folder / "config.yaml").environment for folder in options.folders
    ]
    for name in ("commit", "torch", "python", "hardware"):
        print(
            f"{name}: {', '.join(sorted({str(environment[name]) for environment in environments}))}"
        )
    print(f"\n| {COLUMNS} |\n|{'---|' * len(COLUMNS.split('|'))}")
    for folder in options.folders:
        print(table_row(folder))
    if options.figure:
        runs = [
            (
                title(json.loads((folder / "summary.json").read_text())),
                read_metrics(folder / "metrics.csv"),
            )
            for folder in options.folders
        ]
        cosine_figure(runs).savefig(options.figure, dpi=120)


if __name__ == "__main__":
    main()
