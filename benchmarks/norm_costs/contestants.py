"""Layers that are measured: torch's BatchNorm2d, a plain RBN, and the norms of the registry."""

from collections.abc import Callable, Iterable, Mapping

import torch
import yaml
from torch import nn

from ssl_norm.norms import make_norm
from ssl_norm.norms.batch.batch_statistics import BatchStatisticsNorm

from .plain_rbn import PlainRepresentativeBatchNorm2d

REFERENCE = "BatchNorm2d"
PLAIN_RBN = "plain rbn"
BN_AS_RULE = "bn as a rule"
Build = Callable[[int], nn.Module]


def contestants(norms: Iterable[str]) -> dict[str, Build]:
    """Return constructors by name, whose argument is the number of channels.

    In addition to the norms, these are the reference, the plain RBN, and batch norm by the rule
    core. In one process, batch norm uses torch's kernel instead of the rule core, unless it is
    synchronized.
    """
    fixed: dict[str, Build] = {
        REFERENCE: nn.BatchNorm2d,
        PLAIN_RBN: PlainRepresentativeBatchNorm2d,
        BN_AS_RULE: BatchStatisticsNorm,
    }
    return fixed | {name: _of_setting(name) for name in norms if name != "none"}


def rule_norms(builds: Mapping[str, Build]) -> list[str]:
    """Return the names of the norms that use the rule core; the targets apply to these."""
    x = torch.randn(2, 64, 2, 2, requires_grad=True)
    outputs = {name: build(64)(x) for name, build in builds.items()}
    core = ("_PointwiseMapBackward", "_PooledNormBackward")
    return [name for name, y in outputs.items() if y.grad_fn.name() in core]


def _of_setting(text: str) -> Build:
    """Return the constructor of a norm by its name, or by a mapping as YAML."""
    setting = yaml.safe_load(text)
    return lambda channels: make_norm(setting, channels)
