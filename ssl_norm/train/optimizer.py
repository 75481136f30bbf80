"""Optimizers by name, exclusion of norms and biases from weight decay, and learning rates."""

import math
from typing import Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer


def make_optimizer(
    learner: nn.Module,
    name: str,
    *,
    lr: float,
    momentum: float,
    weight_decay: float,
    betas: tuple[float, float],
    lars_eta: float,
    exclude_norm_and_bias: bool,
) -> Optimizer:
    """Return `sgd`, `lars` (timm) or `adamw` over the parameters of a learner that take gradients.

    SGD and LARS add weight decay to the gradient; in AdamW it is decoupled. Only AdamW uses
    `betas`, and only LARS uses `lars_eta`, its trust coefficient. `exclude_norm_and_bias` excludes
    parameters with fewer than two dimensions from weight decay and from LARS's adaptation (BYOL,
    arXiv 2006.07733, section 3.3).
    """
    groups = parameter_groups(learner, weight_decay, exclude_norm_and_bias)
    if name == "sgd":
        return SGD(groups, lr=lr, momentum=momentum)
    if name == "adamw":
        return AdamW(groups, lr=lr, betas=betas)
    from timm.optim.lars import Lars

    for group in groups:
        group["always_adapt"] = not group["excluded"]
    lars: Optimizer = Lars(groups, lr=lr, momentum=momentum, trust_coeff=lars_eta)
    return lars


def parameter_groups(
    learner: nn.Module, weight_decay: float, exclude_norm_and_bias: bool
) -> list[dict[str, Any]]:
    """Return a group with weight decay and, if requested, one without it for norms and biases."""
    parts: dict[bool, list[nn.Parameter]] = {False: [], True: []}
    for parameter in learner.parameters():
        if parameter.requires_grad:
            parts[exclude_norm_and_bias and parameter.ndim < 2].append(parameter)
    return [
        {"params": part, "weight_decay": 0.0 if excluded else weight_decay, "excluded": excluded}
        for excluded, part in parts.items()
        if part
    ]


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
