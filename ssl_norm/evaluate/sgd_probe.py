"""Linear classifier trained by SGD on frozen features, as in the papers."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_norm.evaluate.logistic import LinearClassifier


def fit_sgd_probe(
    features: Tensor,
    labels: Tensor,
    classes: int,
    *,
    lr: float = 0.1,
    epochs: int = 100,
    batch_size: int = 256,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    seed: int = 0,
) -> LinearClassifier:
    """Return a linear classifier trained by Nesterov SGD with a cosine schedule per step.

    Unlike in the papers, the features are computed only once, from the plain images and not from
    new random crops in every epoch. They are not standardized, so the best rate depends on their
    scale.

    Args:
        features: (N, F).
        labels: (N,) integers in [0, classes), on the features' device.
        classes: number of classes.
        lr: initial rate, not scaled by the batch size; it falls to 0.
        epochs: passes over the samples; the last batch of each may be smaller.
        batch_size: samples per step.
        momentum: in [0, 1).
        weight_decay: L2 coefficient, on weight and bias.
        seed: seed of the order of the samples; weights start at 0.

    Source: the linear evaluations of BYOL (arXiv 2006.07733) and of SimCLR (arXiv 2002.05709),
        without SimCLR's scaling of the rate.
    """
    weight = features.new_zeros(classes, features.shape[1]).requires_grad_()
    bias = features.new_zeros(classes).requires_grad_()
    optimizer = torch.optim.SGD(
        [weight, bias], lr, momentum, weight_decay=weight_decay, nesterov=momentum > 0
    )
    generator = torch.Generator().manual_seed(seed)
    steps = epochs * math.ceil(len(features) / batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(epochs):
        order = torch.randperm(len(features), generator=generator).to(features.device)
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            optimizer.zero_grad()
            loss = F.cross_entropy(F.linear(features[batch], weight, bias), labels[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return LinearClassifier(weight.detach(), bias.detach())
