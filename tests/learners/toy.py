"""Small learners in float64 for the tests of this folder."""

import torch
from torch import Tensor, nn

from ssl_norm.learners import METHODS
from ssl_norm.learners.learner import Learner, needs_embedding_dim
from ssl_norm.models.heads import mlp_head
from ssl_norm.norms import make_norm
from ssl_norm.norms.layers.batch_norm import BatchNorm
from ssl_norm.settings.method import heads_of
from ssl_norm.signature import options_of

WIDTH, SIZE = 4, 6


def encoder(norm: nn.Module | None = None) -> nn.Module:
    layers = [nn.Conv2d(3, 8, 3, 2, 1), norm or nn.GroupNorm(2, 8), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def head(in_features: int, norm: str = "ln") -> nn.Module:
    return mlp_head(in_features, hidden_dim=12, output_dim=WIDTH, layers=2, norm=norm)


class Constant(nn.Module):
    """A head that maps every image to one embedding."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.linspace(-1, 2, WIDTH).to(x).expand(len(x), WIDTH)


def make(name: str, norm: str = "ln", constant: bool = False, **options) -> Learner:
    torch.manual_seed(0)
    learner = METHODS.load(name)
    widths = (8, *[WIDTH] * len(heads_of(learner)))[:-1]
    heads = [Constant() if constant else head(width, norm) for width in widths]
    if needs_embedding_dim(learner):
        options = {"embedding_dim": WIDTH, **options}
    if "queue_size" in options_of(learner):
        options = {"queue_size": 24, **options}
    norm_layer = None if norm == "ln" else make_norm(norm, 8)
    return learner(encoder(norm_layer), *heads, **options).double()


def views(seed: int = 0, N: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (N, 3, SIZE, SIZE)
    first, second = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return first, second


def with_ghost_batches(model: nn.Module, size: int) -> nn.Module:
    """Let every batch norm of a model have statistics per chunk of `size` consecutive rows."""
    for layer in model.modules():
        if isinstance(layer, BatchNorm):
            layer.batch_size = size
    return model
