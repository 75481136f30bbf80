"""Learning rate as a function of the step."""

import math


def effective_learning_rate(base: float, images_per_step: int) -> float:
    """Return the base rate scaled linearly with the batch, `base * images_per_step / 256`.

    Source: Goyal et al., arXiv 1706.02677, section 2.1; BYOL, arXiv 2006.07733, section 3.3.
    """
    return base * images_per_step / 256


def learning_rate(step: int, *, peak: float, steps: int, warmup_steps: int, schedule: str) -> float:
    """Return the rate of a step: linear warm-up to `peak`, then constant or half a cosine to 0.

    Args:
        step: index of the step, from 0.
        peak: the highest rate, reached at step `warmup_steps`.
        steps: length of the run.
        warmup_steps: steps of the rise; the first step already has `peak / (warmup_steps + 1)`.
        schedule: `cosine` or `constant`.

    Example:
        >>> [
        ...     round(learning_rate(s, peak=1.0, steps=5, warmup_steps=1, schedule="cosine"), 2)
        ...     for s in range(5)
        ... ]
        [0.5, 1.0, 0.85, 0.5, 0.15]
    """
    if step < warmup_steps:
        return peak * (step + 1) / (warmup_steps + 1)
    if schedule == "constant":
        return peak
    return peak * (1 + math.cos(math.pi * (step - warmup_steps) / (steps - warmup_steps))) / 2
