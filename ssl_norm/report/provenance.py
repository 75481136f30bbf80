"""Where the numbers of a report come from: code, machine, dates and commands."""

from collections import Counter
from collections.abc import Mapping, Sequence

from ssl_norm.report.caveats import counted
from ssl_norm.report.read import RunRecord
from ssl_norm.report.table import unique

PARTS = {
    "commit": "commit",
    "ssl_norm": "ssl_norm",
    "torch": "torch",
    "python": "Python",
    "hardware": "hardware",
}


def provenance(runs: Sequence[RunRecord]) -> dict[str, str]:
    """Return the values of all runs by heading; several values each with its number of runs."""
    lines = {}
    for part, heading in PARTS.items():
        counts = Counter(run.environment.get(part, "unknown") for run in runs)
        lines[heading] = "; ".join(
            value if len(counts) == 1 else f"{value} ({counted(count, 'run')})"
            for value, count in counts.most_common()
        )
    days = [date for run in runs if run.dates for date in run.dates]
    if days:
        lines["files written"] = f"{min(days):%Y-%m-%d %H:%M} to {max(days):%Y-%m-%d %H:%M}"
    return lines


def commands(runs: Sequence[RunRecord]) -> list[str]:
    """Return the commands that made the runs and their evaluations, each once; a sweep is one command."""
    environments: list[object] = [run.environment for run in runs]
    environments += [run.evaluation.get("environment") for run in runs]
    environments += [run.population.get("environment") for run in runs]
    return unique(
        f"python {environment['command']}"
        for environment in environments
        if isinstance(environment, Mapping) and environment.get("command")
    )
