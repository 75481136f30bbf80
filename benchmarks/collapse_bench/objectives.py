"""Objectives of CollapseBench, each in its published form and without parts that avert collapse.

An objective is a function of a :class:`Step`; it returns the loss and the pair of embeddings for a
monitor. `without` names the omitted part: `stop_gradient`, `predictor`, `ema`, `variance`,
`covariance`, `negatives`, `whitening`, `centring`, `sharpening`, `regularizer`, `normalization` or
`labels`; "" is the published form.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import log, nan

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_norm.losses.contrastive import info_nce, nt_xent

Result = tuple[Tensor, tuple[Tensor, Tensor]]


@dataclass
class Step:
    """One step: views, networks, and the state of an objective."""

    x1: Tensor
    x2: Tensor
    labels: Tensor
    online: nn.Module  # encoder and projector
    target: nn.Module  # moving average of it
    predictor: nn.Module
    without: frozenset[str]
    state: dict[str, Tensor] = field(default_factory=dict)

    def lacks(self, part: str) -> bool:
        """Return whether a part is omitted."""
        return part in self.without


def cosine(p: Tensor, z: Tensor) -> Tensor:
    """Return 2 - 2 cos, averaged over rows."""
    return 2 - 2 * F.cosine_similarity(p, z).mean()


def byol(step: Step) -> Result:
    """Grill et al., arXiv 2006.07733, equation 2, symmetric."""
    z1, z2 = step.online(step.x1), step.online(step.x2)
    with torch.no_grad():
        t1, t2 = step.target(step.x1), step.target(step.x2)
    p1, p2 = (z1, z2) if step.lacks("predictor") else (step.predictor(z1), step.predictor(z2))
    return cosine(p1, t2) + cosine(p2, t1), (z1, t2)


def alignment(step: Step) -> Result:
    """Only the distance between L2-normalized views, so that nothing averts collapse."""
    z1, z2 = step.online(step.x1), step.online(step.x2)
    return cosine(z1, z2), (z1, z2)


def simsiam(step: Step) -> Result:
    """Chen & He, arXiv 2011.10566, equation 2 and algorithm 1."""
    z1, z2 = step.online(step.x1), step.online(step.x2)
    p1, p2 = (z1, z2) if step.lacks("predictor") else (step.predictor(z1), step.predictor(z2))
    t1, t2 = (z1, z2) if step.lacks("stop_gradient") else (z1.detach(), z2.detach())
    return (cosine(p1, t2) + cosine(p2, t1)) / 2, (z1, z2)


def simclr(step: Step) -> Result:
    """Chen et al., arXiv 2002.05709, equation 1."""
    z1, z2 = step.online(step.x1), step.online(step.x2)
    loss = cosine(z1, z2) if step.lacks("negatives") else nt_xent(z1, z2, 0.5)
    return loss, (z1, z2)


def moco(step: Step) -> Result:
    """He et al., arXiv 1911.05722, algorithm 1, with a queue of 512 keys."""
    z = step.online(step.x1)
    with torch.no_grad():
        keys = F.normalize(step.target(step.x2))
    queue = step.state.get("queue")
    if queue is None:
        queue = F.normalize(torch.randn(512, z.shape[1]))
    loss = cosine(z, keys) if step.lacks("negatives") else info_nce(z, keys, queue, 0.2)
    step.state["queue"] = torch.cat([keys, queue])[:512]
    return loss, (z, keys)


def vicreg(step: Step) -> Result:
    """Bardes et al., arXiv 2105.04906, equations 1 to 6, divided by 25."""
    z1, z2 = step.online(step.x1), step.online(step.x2)
    loss = F.mse_loss(z1, z2)
    for z in (z1, z2):
        if not step.lacks("variance"):
            loss = loss + F.relu(1 - (z.var(0) + 1e-4).sqrt()).mean() / 2
        if not step.lacks("covariance"):
            c = torch.cov(z.T)
            loss = loss + (c.square().sum() - c.diagonal().square().sum()) / len(c) / 25
    return loss, (z1, z2)


def barlow(step: Step) -> Result:
    """Zbontar et al., arXiv 2103.03230, equations 1 and 2; lambda 0.005, divided by D."""
    z1, z2 = step.online(step.x1), step.online(step.x2)
    if step.lacks("standardization"):
        return (z1 - z2).square().mean(), (z1, z2)
    a, b = ((z - z.mean(0)) / (z.std(0) + 1e-5) for z in (z1, z2))
    c = a.T @ b / len(a)
    loss = (1 - c.diagonal()).square().sum()
    if not step.lacks("redundancy"):
        loss = loss + 0.005 * (c.square().sum() - c.diagonal().square().sum())
    return loss / len(c), (z1, z2)


def wmse(step: Step) -> Result:
    """Ermolov et al., arXiv 2007.06346, equation 3, with Cholesky whitening of both views."""
    z1, z2 = step.online(step.x1), step.online(step.x2)
    if step.lacks("whitening"):
        return cosine(z1, z2), (z1, z2)
    z = torch.cat([z1, z2])
    z = z - z.mean(0)
    eye = torch.eye(z.shape[1])
    root = torch.linalg.cholesky(z.T @ z / (len(z) - 1) + 1e-3 * eye)
    w1, w2 = torch.linalg.solve_triangular(root, z.T, upper=False).T.chunk(2)
    return cosine(w1, w2), (w1, w2)


def dino(step: Step) -> Result:
    """Caron et al., arXiv 2104.14294, algorithm 1: temperatures 0.1 and 0.04, centre rate 0.1."""
    z1, z2 = step.online(step.x1), step.online(step.x2)
    with torch.no_grad():
        t1, t2 = step.target(step.x1), step.target(step.x2)
        centre = step.state.get("centre", torch.zeros(t1.shape[1]))
        shift = 0 if step.lacks("centring") else centre
        temperature = 1.0 if step.lacks("sharpening") else 0.04
        s1, s2 = (((t - shift) / temperature).softmax(1) for t in (t1, t2))
        step.state["centre"] = 0.9 * centre + 0.1 * torch.cat([t1, t2]).mean(0)
    logs = [(z / 0.1).log_softmax(1) for z in (z1, z2)]
    loss = -((s2 * logs[0]).sum(1).mean() + (s1 * logs[1]).sum(1).mean()) / 2
    return loss, (z1, t2)


def lejepa(step: Step) -> Result:
    """Balestriero & LeCun, arXiv 2511.08544: alignment and SIGReg, lambda 0.1.

    The Epps-Pulley statistic of 64 random projections against N(0, 1), by 17 points of [-4, 4].
    """
    z1, z2 = step.online(step.x1), step.online(step.x2)
    mean = (z1 + z2) / 2
    loss = ((z1 - mean).square() + (z2 - mean).square()).mean()
    if not step.lacks("regularizer"):
        points = torch.linspace(-4, 4, 17)
        normal = (-points.square() / 2).exp()
        for z in (z1, z2):
            projected = z @ F.normalize(torch.randn(z.shape[1], 64), dim=0)
            angles = projected[..., None] * points
            distance = (angles.cos().mean(0) - normal).square() + angles.sin().mean(0).square()
            statistic = torch.trapezoid(distance * normal, points) * len(z)
            loss = 0.95 * loss + 0.05 * statistic.mean() / 2
    return loss, (z1, z2)


def _tokens(step: Step) -> tuple[Tensor, Tensor, Tensor]:
    """Return a mask (N, T), tokens (N, T, D) of masked images, and those of whole ones as targets.

    The online network sees about half of the tokens; the others are zero.
    """
    mask = torch.rand(len(step.x1), step.online.tokens) < 0.5
    z = step.online(step.x1, mask)
    if step.lacks("stop_gradient"):
        return mask, z, step.online(step.x1)
    with torch.no_grad():
        return mask, z, step.target(step.x1)


def jepa(step: Step) -> Result:
    """Prediction of tokens at masked places from visible ones: Assran et al., arXiv 2301.08243."""
    mask, z, goal = _tokens(step)
    loss = F.smooth_l1_loss(step.predictor(z)[mask], goal[mask])
    return loss, (z.mean(1), goal.mean(1))


def data2vec(step: Step) -> Result:
    """Baevski et al., arXiv 2202.03555, equation 1: targets of the last block, layer-normalized."""
    mask, z, goal = _tokens(step)
    normalized = goal if step.lacks("normalization") else F.layer_norm(goal, goal.shape[-1:])
    loss = F.smooth_l1_loss(step.predictor(z)[mask], normalized[mask])
    return loss, (z.mean(1), goal.mean(1))


def supervised(step: Step) -> Result:
    """Cross-entropy of labels, or without labels of a constant class, on embeddings of view 1."""
    z1, z2 = step.online(step.x1), step.online(step.x2)
    labels = torch.zeros_like(step.labels) if step.lacks("labels") else step.labels
    return F.cross_entropy(step.predictor(z1), labels), (z1, z2)


OBJECTIVES: dict[str, Callable[[Step], Result]] = {
    "byol": byol, "alignment": alignment, "simsiam": simsiam, "simclr": simclr, "vicreg": vicreg,
    "supervised": supervised, "moco": moco, "barlow": barlow, "wmse": wmse, "dino": dino,
    "lejepa": lejepa, "jepa": jepa, "data2vec": data2vec,
}  # fmt: skip
# Thresholds are chosen on these objectives; figures are reported on all others.
TUNING = ("byol", "alignment", "simsiam", "simclr", "vicreg", "supervised", "data2vec")
OF_TOKENS = ("jepa", "data2vec")  # networks return tokens (N, T, D)


def loss_at_collapse(objective: str, without: str, rows: int, width: int, classes: int) -> float:
    """Return the loss of constant embeddings; NaN if it is not known."""
    lacking = set(without.split("+"))
    zero = {
        "wmse": "whitening", "simclr": "negatives", "moco": "negatives", "vicreg": "variance",
        "barlow": "standardization", "data2vec": "normalization",
    }  # fmt: skip
    if objective in ("byol", "alignment", "simsiam", "jepa") or zero.get(objective) in lacking:
        return 0.0
    known = {
        "simclr": log(2 * rows - 1), "moco": log(513), "dino": log(width),
        "supervised": log(classes), "vicreg": 0.99,
    }  # fmt: skip
    return known.get(objective, nan)
