"""Markdown tables of the results."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .targets import Results, verdicts

LABELS = {
    "default": "the default allocator",
    "raised": "glibc's mmap threshold raised",
}


def header(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield lines on the environment and the command of the measurement."""
    machine = ", ".join(environment[key] for key in ("hardware", "gpu") if key in environment)
    yield f"{machine}, torch {environment['torch']}, commit {environment['commit']}."
    yield f"\n    python {environment['command']}"


def targets(runs: Mapping[str, Results]) -> Iterator[str]:
    """Yield a row per target; `results` are by the name of the allocator."""
    yield "\n## Targets\n"
    found = [
        verdict
        for allocator, results in runs.items()
        for verdict in verdicts(results, f"{allocator}, " if len(runs) > 1 else "")
    ]
    rows = [(v.asked, v.found, "met" if v.met else "**not met**") for v in found]
    yield from table(("target", "worst norm", ""), rows)


def sections(results: Results, allocator: str) -> Iterator[str]:
    """Yield the tables of one process."""
    for memory_format, costs in results.get("layers", {}).items():
        yield f"\n## Forward and backward, {memory_format}, {allocator}\n"
        yield f"N = {results['batch_size']}, float32; times of BatchNorm2d, then ratios to it (median and quartiles).\n"
        yield from layer_table(costs)
    if "memory" in results:
        yield "\n## Bytes kept for backward\n"
        yield f"N = {results['batch_size']}, float32; ratios to BatchNorm2d's bytes, including the input.\n"
        yield from memory_table(results["memory"])
    if "step" in results:
        yield f"\n## A step of BYOL with each norm in the encoder, {allocator}\n"
        yield f"{results['step']['setting']}.\n"
        yield from step_table(results["step"]["costs"])
    if "gpu" in results:
        bandwidth = results["gpu"]["copy_gigabytes_per_second"]
        for case, cost in results["gpu"]["costs"].items():
            yield f"\n## GPU, {case}: forward and backward\n"
            yield f"N = {results['gpu_batch_size']}; bandwidth as a share of a copy's {bandwidth} GB/s.\n"
            shares = {n: f"{share:.2f}" for n, share in cost["bandwidth_share"].items()}
            yield from layer_table(cost["layers"], ("bandwidth", shares))


def layer_table(
    costs: Mapping[str, Any], extra: tuple[str, Mapping[str, str]] | None = None
) -> Iterator[str]:
    """Yield a row per layer: ratios per shape and over all shapes; `extra` is a further column."""
    cases = list(next(iter(costs.values()))["ratio"])
    with_plain = any(cost["speed_up"] for cost in costs.values())
    header = ["norm", *cases, *(["times plain rbn's speed"] if with_plain else [])]
    reference, *others = costs
    absolute = [f"{costs[reference]['milliseconds'][case]:.1f} ms" for case in cases]
    speed_up = [f"{costs[reference]['speed_up'][1]:.2f}"] if with_plain else []
    rows = [[reference, *absolute, *speed_up]]
    for name in others:
        cost = costs[name]
        ratios = [cost["ratio"][case] for case in cases]
        cells = [f"{ratio[1]:.2f}" for ratio in ratios[:-1]] + [with_quartiles(ratios[-1])]
        if with_plain:
            cells.append(f"{cost['speed_up'][1]:.2f}")
        rows.append([name, *cells])
    if extra is not None:
        header.append(extra[0])
        rows = [[*row, extra[1][row[0]]] for row in rows]
    return table(header, rows)


def memory_table(costs: Mapping[str, Any]) -> Iterator[str]:
    """Yield a row per layer: ratios, the number of large tensors, and the size of others."""
    cases = list(next(iter(costs.values()))["ratio"])
    rows = []
    for name, cost in costs.items():
        maps = sorted(set(cost["maps"].values()))
        rows.append(
            [
                name,
                *(f"{cost['ratio'][case]:.3f}" for case in cases),
                " to ".join(map(str, maps)),
                f"{cost['tables']['sum']:.1%}",
            ]
        )
    return table(["norm", *cases, "of the input's size", "smaller, of the input"], rows)


def step_table(costs: Mapping[str, Any]) -> Iterator[str]:
    """Yield a row per norm: seconds and the ratio to bn."""
    rows = [
        [name, f"{cost['seconds']:.3f}", with_quartiles(cost["ratio"])]
        for name, cost in costs.items()
    ]
    return table(["encoder norm", "seconds", "to bn"], rows)


def with_quartiles(ratio: Sequence[float]) -> str:
    """Return a median with its quartiles."""
    return f"{ratio[1]:.3f} ({ratio[0]:.2f} to {ratio[2]:.2f})"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield f"| {' | '.join(header)} |"
    yield f"|{' --- |' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
