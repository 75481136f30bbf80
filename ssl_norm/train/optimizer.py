"""Optimizers by name, with the papers' exclusion of norms and biases."""

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

    Args:
        learner: holds the parameters.
        name: `sgd`, `lars` or `adamw`.
        lr: learning rate.
        momentum: of SGD and LARS.
        weight_decay: added to the gradient in SGD and LARS, decoupled in AdamW.
        betas: of AdamW.
        lars_eta: trust coefficient of LARS.
        exclude_norm_and_bias: exclude parameters with fewer than two dimensions from weight decay
            and from LARS's adaptation (BYOL, arXiv 2006.07733, section 3.3).
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
    trained = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    excluded = [parameter for parameter in trained if exclude_norm_and_bias and parameter.ndim < 2]
    decayed = [
        parameter for parameter in trained if not (exclude_norm_and_bias and parameter.ndim < 2)
    ]
    groups = [
        {"params": decayed, "weight_decay": weight_decay, "excluded": False},
        {"params": excluded, "weight_decay": 0.0, "excluded": True},
    ]
    return [group for group in groups if group["params"]]
