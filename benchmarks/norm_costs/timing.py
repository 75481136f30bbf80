"""Timing in alternating rounds, and quartiles over rounds."""

import random
import sys
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch

Call = Callable[[], object]
Clock = Callable[[Call], float]


class Spread(NamedTuple):
    """Quartiles of a figure over the rounds."""

    low: float
    median: float
    high: float


def spread(values: "list[float] | np.ndarray") -> Spread:
    """Return the quartiles."""
    return Spread(*(round(float(quartile), 4) for quartile in np.percentile(values, (25, 50, 75))))


def wall_clock(call: Call) -> float:
    """Return the seconds of a call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def cpu_clock(call: Call) -> float:
    """Return the CPU seconds of a call, summed over its threads."""
    started = time.process_time()
    call()
    return time.process_time() - started


def cuda_clock(call: Call, repeats: int = 10) -> float:
    """Return the GPU seconds of a call, including launches: the mean of `repeats` calls."""
    started, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    started.record()
    for _ in range(repeats):
        call()
    ended.record()
    ended.synchronize()
    return float(started.elapsed_time(ended)) / 1000 / repeats


def alternate(
    calls: Mapping[str, Mapping[str, Call]],
    rounds: int,
    clock: Clock,
    title: str,
    warm_up: int = 1,
) -> dict[str, dict[str, np.ndarray]]:
    """Return the seconds of every call in every round.

    A round calls, for every case, every contestant once in a new random order, so that a
    temporary slowdown of the machine affects all of them.

    Args:
        calls: functions by case, then by contestant.
        rounds: number of counted rounds.
        clock: function that returns the seconds of a call.
        title: text of the progress line.
        warm_up: number of earlier rounds that are not counted.

    Returns:
        An array (rounds,) by contestant and case.
    """
    shuffler = random.Random(0)
    seconds: dict[str, dict[str, list[float]]] = {}
    for index in range(1 - warm_up, rounds + 1):
        print(f"{title}: round {index} of {rounds}", file=sys.stderr, flush=True)
        for case, contestants in calls.items():
            for name in shuffler.sample(list(contestants), len(contestants)):
                taken = clock(contestants[name])
                seconds.setdefault(name, {}).setdefault(case, []).append(taken)
    names = next(iter(calls.values()))
    return {
        name: {case: np.array(values[warm_up:]) for case, values in seconds[name].items()}
        for name in names
    }
