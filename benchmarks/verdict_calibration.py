"""False alarms and misses of the verdict on runs of known outcome, for many thresholds.

    python benchmarks/verdict_calibration.py runs/zoo runs/digits --figure results/verdict.png

The outcome of a run follows from its configuration, not from a monitor. BYOL collapses without a
norm in both heads, or with LN, GN, RMS or FRN in both. It does not collapse with norms of batch
statistics in both heads, and neither do SimCLR and MoCo v2. A projector with a hidden layer of 4
units or fewer has at most that number of dimensions. All other runs are listed with their verdicts
and not counted. Each set of thresholds is applied to the rows of metrics.csv as in a run.
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ssl_norm.monitors.verdict import (
    PATIENCE,
    Thresholds,
    Verdict,
    VerdictState,
    advance,
    zone,
)
from ssl_norm.norms import parse_norm
from ssl_norm.train.run_folder import Row, RunFolder

SAMPLE_NORMS = {"none", "ln", "gn", "rms", "frn"}
MIXING_NORMS = {"bn", "ghost", "rbn", "brn", "domain", "zca", "iternorm"}
NARROW = 4


@dataclass(frozen=True)
class Run:
    """Name, outcome, width of the projection and rows of a run folder."""

    name: str
    known: str
    width: int
    rows: Sequence[Row]


def fate(config: Any) -> str:
    """Return the outcome of a run: healthy, dimensional or complete; `open` if it is unknown."""
    if config.method.projector.hidden_dim <= NARROW:
        return "dimensional"
    if config.method.name != "byol":
        return "healthy"
    heads = [
        parse_norm(OmegaConf.to_object(OmegaConf.create({"n": norm}))["n"])
        for norm in (config.norm.projector, config.norm.predictor)
    ]
    plain = {head.name for head in heads if not head.weight_standardization}
    if len(plain) and plain <= SAMPLE_NORMS and not any(h.weight_standardization for h in heads):
        return "complete"
    return "healthy" if plain and plain <= MIXING_NORMS else "open"


def find_runs(folders: Iterable[Path]) -> Iterator[Run]:
    """Yield the runs that have rows, in folders and their sub-folders."""
    for path in sorted({path for folder in folders for path in folder.rglob("metrics.csv")}):
        rows = RunFolder(path.parent).rows(path.name)
        if len(rows) > 1 and (path.parent / "config.yaml").exists():
            config = OmegaConf.load(path.parent / "config.yaml")
            width = int(config.method.projector.output_dim)
            yield Run(path.parent.name, fate(config), width, rows)


def judged(run: Run, thresholds: Thresholds, patience: int) -> list[tuple[int, Verdict]]:
    """Return every change of the verdict with its step."""
    state, changes, before = VerdictState(), [], 0
    for row in run.rows:
        step = int(row["step"])
        values = {name: float(value) for name, value in row.items() if name != "verdict"}
        found = zone(values | {"dimensions": float(run.width)}, thresholds)
        for counted in range(before + 1, step + 1):
            advanced = advance(state, counted, found, patience)
            if advanced.verdict != state.verdict:
                changes.append((counted, advanced.verdict))
            state = advanced
        before = step
    return changes


@dataclass(frozen=True)
class Count:
    """Errors of a set of thresholds; `alarms` are the steps at which collapse was reported."""

    false_alarms: tuple[str, ...]
    misses: tuple[str, ...]
    alarms: tuple[int, ...]


def count(runs: Sequence[Run], called: Verdict, thresholds: Thresholds, patience: int) -> Count:
    """Count false alarms of one kind of collapse in healthy runs, and misses in collapsed runs."""
    false, missed, alarms = [], [], []
    for run in runs:
        steps = [step for step, verdict in judged(run, thresholds, patience) if verdict == called]
        if run.known == called:
            alarms.extend(steps[:1])
            missed += [run.name] * (not steps)
        elif run.known == "healthy" and steps:
            false.append(run.name)
    return Count(tuple(false), tuple(missed), tuple(alarms))


def line(label: str, found: Count, healthy: int, collapsed: int) -> str:
    """Return a row of the table."""
    ordered = sorted(found.alarms)
    median = str(ordered[len(ordered) // 2]) if ordered else "-"
    cells = [
        label,
        f"{len(found.false_alarms)} of {healthy}",
        f"{len(found.misses)} of {collapsed}",
        median,
        str(max(ordered)) if ordered else "-",
    ]
    return f"| {' | '.join(cells)} |"


def print_tables(runs: Sequence[Run]) -> None:
    """Print counts for the defaults and nearby thresholds, and the runs with unknown outcome."""
    given, patience = Thresholds(), PATIENCE
    known = [run.known for run in runs]
    print("runs by outcome:", {fate: known.count(fate) for fate in sorted(set(known))})
    header = "| thresholds | false alarms | misses | median alarm step | latest |\n|" + "---|" * 5
    healthy = known.count("healthy")
    variants: dict[str, list[tuple[str, Thresholds, int]]] = {
        "complete": [
            ("the defaults", given, patience),
            ("cosine above 0.99 alone", replace(given, complete_std=0.0), patience),
            ("std below 0.05 alone", replace(given, complete_cosine=0.999999), patience),
        ]
        + [
            (f"std below {std:g}", replace(given, complete_std=std), patience)
            for std in (0.01, 0.02, 0.1, 0.15)
        ]
        + [
            (f"cosine above {c:g}", replace(given, complete_cosine=c), patience)
            for c in (0.9, 0.95, 0.999)
        ]
        + [(f"patience {steps}", given, steps) for steps in (1, 10, 20, 50)],
        "dimensional": [("the defaults", given, patience)]
        + [
            (f"rank below {rank:g}", replace(given, dimensional_rank=rank), patience)
            for rank in (2, 3, 4, 8, 12)
        ],
    }
    for called, rows in variants.items():
        print(f"\n### {called}\n\n{header}")
        for label, thresholds, steps in rows:
            found = count(runs, called, thresholds, steps)  # type: ignore[arg-type]
            print(line(label, found, healthy, known.count(called)))
            if label == "the defaults":
                names = [f"false alarm: {n}" for n in found.false_alarms] + [
                    f"missed: {n}" for n in found.misses
                ]
                wrong = names
        print("\nwrong under the defaults:", ", ".join(wrong) or "none")
    print("\n### unknown outcome\n")
    for run in runs:
        if run.known == "open":
            changes = ", ".join(
                f"{verdict} at {step}" for step, verdict in judged(run, given, patience)
            )
            print(f"- {run.name}: {changes or 'uncertain throughout'}")


def draw(runs: Sequence[Run], path: Path) -> None:
    """Draw every row of every run by cosine and spread, coloured by outcome, with the zones."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    colours = {
        "healthy": "tab:blue",
        "complete": "tab:red",
        "dimensional": "tab:orange",
        "open": "tab:grey",
    }
    for fate_name, colour in colours.items():
        rows = [row for run in runs if run.known == fate_name for row in run.rows]
        if rows:
            x = [float(row["negative_cosine"]) for row in rows]
            y = [max(float(row["feature_std"]), 1e-3) for row in rows]
            label = f"{fate_name} ({sum(run.known == fate_name for run in runs)} runs)"
            axes.plot(x, y, ".", color=colour, alpha=0.35, markersize=3, label=label)
    given = Thresholds()
    axes.axvline(given.complete_cosine, color="tab:red", linewidth=1)
    axes.axhline(given.complete_std, color="tab:red", linewidth=1)
    axes.axvline(given.healthy_cosine, color="tab:blue", linewidth=1, linestyle="--")
    axes.axhline(given.healthy_std, color="tab:blue", linewidth=1, linestyle="--")
    axes.set(yscale="log", xlabel="negative cosine", ylabel="feature std", xlim=(-0.5, 1.02))
    axes.legend(loc="lower left", fontsize="small", markerscale=3)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Print the tables and draw the figure of --figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--figure", type=Path, help="PNG of cosine against spread")
    options = parser.parse_args()
    runs = list(find_runs(options.folders))
    if not runs:
        parser.error(f"no run with rows in {', '.join(map(str, options.folders))}")
    print_tables(runs)
    if options.figure:
        draw(runs, options.figure)


if __name__ == "__main__":
    main()
