"""Domain-specific batch normalization, with separate statistics and optional affine parameters."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
from annotated_types import Interval
from torch import Tensor, nn

from ssl_norm.distributed import is_distributed, rank, world_size
from ssl_norm.norms.batch.batch_statistics import BatchMoments, BatchStatisticsNorm, pool_over_ranks
from ssl_norm.norms.input_checks import check_batch, check_channels


class SampleDomains(NamedTuple):
    """Domains of the samples of a batch, as given by :func:`domain_labels`."""

    labels: Tensor  # (N,) integers; or a scalar, the domain of every sample
    sizes: tuple[int, ...] | None  # samples of each domain; None for a scalar


class DomainBatchNorm(BatchStatisticsNorm):
    """Batch norm of each domain separately.

    y = weight (x - E_d) / sqrt(V_d + eps) + bias for a sample of domain d, with E_d and V_d over
    the samples of d and space. A batch without samples of a domain does not change the population
    statistics of that domain. :func:`domain_labels` gives the domains of samples. Without it, a
    training batch consists of `domains` equal chunks in order, such as two views in one batch, and
    evaluation takes domain 0 for all samples, like timm's SplitBatchNorm2d. Checkpoints of batch
    norm load into every domain.

    Training and evaluation have the same policy: a network that trains with statistics of single
    domains and evaluates with those of all, or the reverse, fails (arXiv 2105.07576, table 5).

    Args:
        domains: number of domains D.
        affine_per_domain: whether each domain has its own weight and bias, (D, C).
        shared_statistics: whether all domains share the statistics of batch norm, and differ only
            by `affine_per_domain`.
        **options: those of :class:`BatchStatisticsNorm`; ghost batches are formed in each domain.

    Attributes:
        running_mean: (D, C), or (C,) if shared; so is running_var.
        num_batches_tracked: (D,), or a scalar if shared: batches with samples of the domain.

    Source: Chang et al., arXiv 1906.03950, with affine parameters for each domain; Wu & Johnson,
    arXiv 2105.07576, table 5, for the sharing.
    """

    equation = "bn of the samples of each domain: equal chunks of a batch, or by label"
    printed = ("domains", "affine_per_domain", "shared_statistics")
    # If true, `sync` splits the batch of all ranks into chunks; all ranks must hold equal batches.
    spans_ranks: ClassVar[bool] = False

    def __init__(
        self,
        num_features: int,
        *,
        domains: Annotated[int, Interval(ge=1, le=10**6)] = 2,
        affine_per_domain: bool = False,
        shared_statistics: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(num_features, **options)
        self.domains = domains
        self.affine_per_domain = affine_per_domain
        self.shared_statistics = shared_statistics
        self.given: SampleDomains | None = None
        if affine_per_domain:
            if self.weight is None or self.bias is None:
                raise ValueError("affine_per_domain=True needs affine=True")
            self.weight = nn.Parameter(torch.ones(domains, num_features))
            self.bias = nn.Parameter(torch.zeros(domains, num_features))
        if not shared_statistics:
            self.running_mean = torch.zeros(domains, num_features)
            self.running_var = torch.ones(domains, num_features)
            self.num_batches_tracked = torch.zeros(domains, dtype=torch.long)
        hook: Any = self.register_load_state_dict_pre_hook
        hook(_spread_over_domains)

    def check_input(self, x: Tensor) -> None:
        """Raise ValueError unless x is (N, C, *spatial) and each domain has enough values."""
        check_channels(x, self.num_features)
        sizes = self._domain_sizes(len(x))
        if self.shared_statistics:
            super().check_input(x)
        elif self.uses_batch and not (self.sync and is_distributed()):
            check_batch(x, self.batch_size, sizes)

    def _domain_sizes(self, samples: int) -> tuple[int, ...]:
        """Return the numbers of samples of the domains in a batch."""
        if self.given is not None and self.given.sizes is not None:
            if sum(self.given.sizes) != samples:
                raise ValueError(
                    f"domain_labels gave {sum(self.given.sizes)} labels for a batch of {samples}"
                )
            return tuple(size for size in self.given.sizes if size)
        if self.given is not None or not self.training:
            return (samples,) if samples else ()
        if self.spans_ranks and self.sync and samples * world_size() % self.domains == 0:
            return (samples,)
        if samples % self.domains:
            raise ValueError(
                f"a batch of {samples} is not {self.domains} equal chunks, one for each domain; "
                "give the domain of each sample: with domain_labels(model, labels): ..."
            )
        return (samples // self.domains,) * self.domains if samples else ()

    def sample_domains(self, mean: Tensor) -> Tensor:
        """Return the domain of each sample, (N,)."""
        samples = len(mean)
        if self.given is not None:
            return self.given.labels.to(mean.device).expand(samples)
        if not self.training:
            return torch.zeros(samples, dtype=torch.long, device=mean.device)
        ranks, first = (
            (world_size(), rank() * samples) if self.spans_ranks and self.sync else (1, 0)
        )
        place = first + torch.arange(samples, device=mean.device)
        return place * self.domains // (samples * ranks)

    def rule(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return batch norm's scale and shift, by the weight and bias of each sample's domain."""
        if not self.affine_per_domain or self.weight is None or self.bias is None:
            if self.shared_statistics:
                return super().rule(mean, variance)
            *tables, groups = self._group_statistics(mean, variance)
            scale, shift = self.coefficients(*tables)
            return scale[groups], shift[groups]
        own_mean, own_variance = self.statistics(mean, variance)
        domains = self.sample_domains(mean)
        scale = (own_variance + self.eps).rsqrt() * self.weight[domains]
        return scale, self.bias[domains] - own_mean * scale

    def statistics(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and variance of each sample's domain, (N, C)."""
        if self.shared_statistics:
            return super().statistics(mean, variance)
        group_mean, group_variance, groups = self._group_statistics(mean, variance)
        return group_mean[groups], group_variance[groups]

    def _group_statistics(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean and variance of groups of samples, (K, C), and the group of samples, (N,)."""
        domains = self.sample_domains(mean)
        if not self.uses_batch:
            return self.running_mean.to(mean.dtype), self.running_var.to(mean.dtype), domains
        groups, count = self._groups(domains)
        moments = pool_groups(mean, variance, groups, count, self.positions)
        if self.sync:
            moments = pool_over_ranks(moments)
        if self.training:
            self.observe(BatchMoments(*(table.detach() for table in moments)))
        return moments.mean, moments.variance, groups

    def _groups(self, domains: Tensor) -> tuple[Tensor, int]:
        """Return the group of each sample, (N,), and the number of groups."""
        if self.batch_size is None:
            return domains, self.domains
        members = domains == torch.arange(self.domains, device=domains.device)[:, None]  # (D, N)
        place = members.cumsum(1).gather(0, domains[None])[0] - 1
        chunks = math.ceil(len(domains) / self.batch_size)
        return domains * chunks + place // self.batch_size, self.domains * chunks

    def observe(self, moments: BatchMoments) -> None:
        """Update the running statistics of each domain with the average over its batches."""
        if self.shared_statistics:
            super().observe(moments)
            return
        chunks = len(moments.mean) // self.domains
        mean, variance, values = (table.view(self.domains, chunks, -1) for table in moments)
        present = values.sum(1) > 0  # (D, 1)
        self.num_batches_tracked.add_(present[:, 0])
        share = values / values.sum(1, keepdim=True).clamp(min=1)
        unbiased = variance * values / (values - 1).clamp(min=1)
        rate = (self.running_mean.new_ones(()) * self.rate_of_new_batch()).view(-1, 1)
        for running, new in ((self.running_mean, mean), (self.running_var, unbiased)):
            average = (share * new).sum(1).to(running.dtype)
            running.lerp_(average, torch.where(present, rate, 0))


@contextmanager
def chunks_of_all_ranks() -> Iterator[None]:
    """Let layers with `sync` and without labels split the batch of all ranks into chunks.

    Several ranks then compute the same as one process. By default each rank splits its own batch.
    """
    before, DomainBatchNorm.spans_ranks = DomainBatchNorm.spans_ranks, True
    try:
        yield
    finally:
        DomainBatchNorm.spans_ranks = before


def pool_groups(
    mean: Tensor, variance: Tensor, groups: Tensor, count: int, positions: int
) -> BatchMoments:
    """Return the statistics of `count` groups of samples, from instance moments (N, C)."""

    def total(table: Tensor) -> Tensor:
        return table.new_zeros(count, table.shape[1]).index_add(0, groups, table)

    samples = total(torch.ones_like(mean[:, :1]))
    share = 1 / samples[groups]
    pooled = total(share * mean)
    between = (mean - pooled[groups]).square()
    return BatchMoments(pooled, total(share * (variance + between)), samples * positions)


def _spread_over_domains(
    layer: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any
) -> None:
    """Give every domain the values of a checkpoint of batch norm."""
    for name, own in layer.state_dict(keep_vars=True).items():
        loaded = state_dict.get(prefix + name)
        if loaded is not None and own.ndim and loaded.shape == own.shape[1:]:
            state_dict[prefix + name] = loaded.expand_as(own)


@contextmanager
def domain_labels(model: nn.Module, labels: Tensor | Sequence[int] | int) -> Iterator[None]:
    """Give the domains of the samples to every `domain` layer of a model, until exit.

    The labels are (N,) integers from 0, for batches of N samples, or one integer for all samples.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 4), DomainBatchNorm(4, domains=2))
        >>> with domain_labels(model, [0, 1, 0, 0, 1]):
        ...     y = model(torch.randn(5, 3))
    """
    layers = [layer for layer in model.modules() if isinstance(layer, DomainBatchNorm)]
    if not layers:
        raise ValueError(f"{type(model).__name__} has no domain norm to take labels")
    given = torch.as_tensor(labels)
    if given.ndim > 1 or given.is_floating_point() or given.dtype == torch.bool:
        raise ValueError(
            "labels must be integers of shape (N,), "
            f"got {given.dtype} of shape {tuple(given.shape)}"
        )
    domains = min(layer.domains for layer in layers)
    if given.numel() and not 0 <= int(given.min()) <= int(given.max()) < domains:
        raise ValueError(
            f"labels must be from 0 to {domains - 1}, got {int(given.min())} to {int(given.max())}"
        )
    sizes = tuple(given.bincount().tolist()) if given.ndim else None
    before = [layer.given for layer in layers]
    try:
        for layer in layers:
            layer.given = SampleDomains(given.long().to(layer.running_mean.device), sizes)
        yield
    finally:
        for layer, previous in zip(layers, before, strict=True):
            layer.given = previous
