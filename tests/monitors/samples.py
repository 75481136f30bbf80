"""Embeddings for the tests of monitors."""

import torch

from ssl_norm.monitors import feature_std, positive_negative_cosine

STREAMED = ("positive_cosine", "negative_cosine", "feature_std")  # of every step of a run
DIMENSIONS = 24  # above 10, so that alpha_req has eigenvalues to fit


def random(*shape, seed=0, dtype=torch.float64):
    """Return values around a common mean, with columns of different spread."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return (values * torch.linspace(0.5, 2, shape[-1], dtype=torch.float64) + 0.3).to(dtype)


def inputs(kind, count=40, size=DIMENSIONS, **options):
    """Return the arguments of a monitor whose registry entry has these inputs."""
    if kind == "tokens":
        tokens = random(count, 5, size, **options)
        tokens[:, 0] *= 20  # outliers
        return (tokens,)
    if kind == "views":
        return (random(count, 3, size, **options),)
    if kind == "pair":
        return random(count, size, **options), random(count, size, seed=1, **options)
    return (random(count, size, **options),)


def constant(kind, row, count=40):
    """Return arguments in which every embedding is the row."""
    shape = (count, 3, len(row)) if kind in ("views", "tokens") else (count, len(row))
    return tuple(row.expand(shape).clone() for _ in range(2 if kind == "pair" else 1))


def rotation(size, seed=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))[0]


def with_singular_values(values, count, seed=3):
    """Return (count, D) whose columns have mean 0 and whose singular values are these."""
    size = len(values)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, size, generator=generator, dtype=torch.float64)
    orthonormal = torch.linalg.qr(noise - noise.mean(0))[0]
    return orthonormal * torch.as_tensor(values, dtype=torch.float64) @ rotation(size)


def streamed(row):
    return {name: row[name] for name in STREAMED}


def streamed_means(pairs_of_steps):
    """Return the mean over steps and pairs of what a run measures at every step."""
    rows = [
        torch.stack([*positive_negative_cosine(*pair), feature_std(pair[0])])
        for pairs in pairs_of_steps
        for pair in pairs
    ]
    return dict(zip(STREAMED, torch.stack(rows).mean(0).tolist(), strict=True))
