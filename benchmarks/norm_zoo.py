"""Study of every norm in BYOL's heads and encoder: runs and table.

    python benchmarks/norm_zoo.py run --data data/cifar10 --folder runs/norm_zoo
    python benchmarks/norm_zoo.py table --folder runs/norm_zoo --figure results/norm_zoo.png

A run that has a linear_eval.json is skipped, so an interrupted study can be continued.
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from matplotlib.figure import Figure
from omegaconf import OmegaConf

from ssl_norm.text import statistic

REPEATED = ("bn", "rbn", "gn+ws", "ln", "none")
SEEDS = (0, 1, 2)
HEADS = (*REPEATED, "gn", "rms", "ghost", "brn", "domain", "switch", "frn", "zca", "iternorm")
ENCODER = (*HEADS, "in", "frozen", "evonorm-s0", "evonorm-b0")
SPECS = {
    "brn": "{name: brn, warmup_steps: 60, r_ramp_steps: 240, d_ramp_steps: 240}"
}  # of 468 steps
DECIMALS = {
    "positive_cosine": 3,
    "negative_cosine": 3,
    "feature_std": 3,
    "rank_me": 1,
    "top1": 3,
    "top1_random_init": 3,
}
TOOLS = Path(__file__).parents[1] / "tools"


@dataclass(frozen=True)
class Run:
    """Run with a norm in one part of the network and bn in the others."""

    part: str
    norm: str
    seed: int

    @property
    def name(self) -> str:
        """Name of the run folder."""
        return f"{self.part}_{self.norm}_{self.seed}"

    @property
    def overrides(self) -> list[str]:
        """Arguments of the command line that set the norms and the seed."""
        parts = ("projector", "predictor") if self.part == "heads" else ("encoder",)
        spec = SPECS.get(self.norm, self.norm)
        return [f"norm.{part}={spec}" for part in parts] + [f"seed={self.seed}"]


def all_runs() -> list[Run]:
    """Return the runs, first those with several seeds; bn is only once, as it is in every part."""
    repeated = [Run("heads", norm, seed) for seed in SEEDS for norm in REPEATED]
    heads = [Run("heads", norm, 0) for norm in HEADS if norm not in REPEATED]
    encoder = [Run("encoder", norm, 0) for norm in ENCODER if norm != "bn"]
    return repeated + heads + encoder


def execute(run: Run, data: str, root: Path, threads: int) -> None:
    """Pretrain and evaluate one run in subprocesses, with their output in a log."""
    folder = root / run.name
    if (folder / "linear_eval.json").exists():
        return
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    pretrain = [TOOLS / "pretrain.py", "study=norm_zoo", f"data.root={data}", *run.overrides]
    pretrain += [f"run_dir={folder}"] + ["resume=true"] * (folder / "last.pt").exists()
    evaluate = [TOOLS / "linear_eval.py", f"checkpoint={folder}", "labels=0.2"]
    with (root / f"{run.name}.log").open("w") as log:
        for command in (pretrain, evaluate):
            words = [sys.executable, *map(str, command)]
            status = subprocess.run(words, env=environment, stdout=log, stderr=log, check=False)
            if status.returncode:
                print(f"{run.name}: exit code {status.returncode}, see {log.name}", flush=True)
                return
    print(f"{run.name}: done", flush=True)


def read(folder: Path) -> dict[str, Any]:
    """Return the summaries of a run and of its evaluation."""
    summary = json.loads((folder / "summary.json").read_text())
    evaluation = json.loads((folder / "linear_eval.json").read_text())
    return {**summary, **{key: evaluation[key] for key in ("top1", "top1_random_init", "rank_me")}}


def groups(root: Path) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return the finished runs by part and norm, in the order of the study."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in all_runs():
        if (root / run.name / "linear_eval.json").exists():
            found.setdefault((run.part, run.norm), []).append(read(root / run.name))
    return found


def print_table(root: Path) -> None:
    """Print the table and the missing runs."""
    environments = [OmegaConf.load(path).environment for path in sorted(root.glob("*/config.yaml"))]
    for name in ("commit", "torch", "python", "hardware"):
        print(f"{name}: {', '.join(sorted({str(e[name]) for e in environments}))}")
    print(
        "\n| part | norm | seeds | positive cosine | negative cosine | feature std | RankMe", end=""
    )
    print(" | verdict | collapsed at step | linear top-1 | random linear |\n" + "|---" * 11 + "|")
    for (part, norm), rows in groups(root).items():
        steps = [str(row["collapsed_at_step"]) for row in rows if row["collapsed_at_step"]]
        cells = [part, norm, str(len(rows))]
        spreads = {
            name: statistic([row[name] for row in rows]).mean_sd(digits)
            for name, digits in DECIMALS.items()
        }
        cells += [spreads.pop(name) for name in list(DECIMALS)[:4]]
        cells += [", ".join(sorted({row["verdict"] for row in rows})), ", ".join(steps) or "-"]
        cells += spreads.values()
        print(f"| {' | '.join(cells)} |")
    missing = [r.name for r in all_runs() if not (root / r.name / "linear_eval.json").exists()]
    if missing:
        print(f"\nmissing: {', '.join(missing)}")


def draw(root: Path, path: Path) -> None:
    """Draw linear accuracy and negative cosine of every norm, one panel per part."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    found = groups(root)
    for axes, part in zip(figure.subplots(1, 2), ("heads", "encoder"), strict=True):
        shown = {norm: rows for (where, norm), rows in found.items() if where in (part, "heads")}
        shown = {n: r for n, r in shown.items() if (part, n) in found or n == "bn"}
        ranked = sorted(shown, key=lambda norm: mean(row["top1"] for row in shown[norm]))
        for place, norm in enumerate(ranked):
            collapsed = any(row["verdict"] == "complete" for row in shown[norm])
            colour = "tab:red" if collapsed else "tab:blue"
            values = [row["top1"] for row in shown[norm]]
            axes.plot(values, [place] * len(values), "o", color=colour, alpha=0.8)
            random = mean(row["top1_random_init"] for row in shown[norm])
            axes.plot(random, place, "|", color="grey", markersize=12)
        other = "encoder" if part == "heads" else "heads"
        axes.set(title=f"norm of the {part}, bn in the {other}", xlabel="linear top-1")
        axes.set_yticks(range(len(ranked)), ranked)
        axes.grid(axis="x", alpha=0.3)
    figure.suptitle("one point per seed; red: collapsed; grey: the same encoder untrained")
    figure.savefig(path, dpi=150)


def main() -> None:
    """Run the study or print its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("run", "table"))
    parser.add_argument("--folder", type=Path, default=Path("runs/norm_zoo"))
    parser.add_argument("--data", help="folder with train/<class> and test/<class>")
    parser.add_argument("--parallel", type=int, default=2, help="number of parallel runs")
    parser.add_argument("--threads", type=int, default=1, help="threads per run")
    parser.add_argument("--only", default="", help="only runs whose name contains this text")
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    if options.action == "run":
        if options.data is None:
            parser.error("run needs --data, a folder with train/<class> and test/<class>")
        options.folder.mkdir(parents=True, exist_ok=True)
        chosen = [run for run in all_runs() if options.only in run.name]
        with ThreadPoolExecutor(options.parallel) as pool:
            work = (options.data, options.folder, options.threads)
            list(pool.map(lambda run: execute(run, *work), chosen))
    print_table(options.folder)
    if options.figure:
        draw(options.folder, options.figure)


if __name__ == "__main__":
    main()
