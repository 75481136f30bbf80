"""Targets for the cost of norms, and verdicts on whether they are reached."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

LAYER_RATIO = {"contiguous": 1.15, "channels_last": 1.25}  # to BatchNorm2d, over all shapes
OTHER_RATIOS = {"frn": 2.0, "evonorm-s0": 2.0, "evonorm-b0": 2.0, "zca": 4.0, "iternorm": 4.0}
RBN_SPEED_UP = 2.2  # over its equations written down plainly
MEMORY_RATIO = 1.05  # to BatchNorm2d, over all shapes
STEP_RATIO = 1.05  # to bn
GPU_RATIO = 1.10  # to cuDNN, over all shapes
Results = Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """Target with its limit, the measured value and the verdict."""

    asked: str
    found: str
    met: bool


def verdicts(results: Results, where: str) -> Iterator[Verdict]:
    """Yield a verdict for each target that the results of one process cover.

    Args:
        results: result of `measure` for one process.
        where: prefix of each target, for example the allocator's name.
    """
    rules = results["rules"]
    for memory_format, costs in results.get("layers", {}).items():
        usual = dict.fromkeys(rules, LAYER_RATIO[memory_format])
        limits = {name: of for name, of in (usual | OTHER_RATIOS).items() if name in costs}
        what = f"{where}{memory_format}: forward and backward to BatchNorm2d's"
        for allowed in sorted({*limits.values()}):
            names = [name for name, limit in limits.items() if limit == allowed]
            yield from _worst(what, {n: costs[n]["ratio"]["sum"][1] for n in names}, allowed)
        if "rbn" in costs:
            speed_up = costs["rbn"]["speed_up"][1]
            asked = f"{where}{memory_format}: rbn at least {RBN_SPEED_UP} times as fast as plain"
            yield Verdict(asked, f"{speed_up:.2f}", speed_up >= RBN_SPEED_UP)
    if "memory" in results:
        ratios = {name: results["memory"][name]["ratio"]["sum"] for name in rules}
        yield from _worst("bytes kept for backward to BatchNorm2d's", ratios, MEMORY_RATIO)
    if "step" in results:
        medians = {n: c["ratio"][1] for n, c in results["step"]["costs"].items() if n in rules}
        yield from _worst(f"{where}step of BYOL to bn's", medians, STEP_RATIO)
    for case, cost in results.get("gpu", {}).get("costs", {}).items():
        medians = {name: cost["layers"][name]["ratio"]["sum"][1] for name in rules}
        yield from _worst(f"GPU, {case}: forward and backward to cuDNN's", medians, GPU_RATIO)


def _worst(what: str, ratios: Mapping[str, float], allowed: float) -> Iterator[Verdict]:
    """Yield a verdict on the ratios of all rule norms."""
    if not ratios:
        return
    name = max(ratios, key=lambda norm: ratios[norm])
    over = sum(ratio > allowed for ratio in ratios.values())
    count = f"; {over} of {len(ratios)} above" if over else ""
    yield Verdict(f"{what}, at most {allowed}", f"{ratios[name]:.3f} ({name}){count}", not over)
