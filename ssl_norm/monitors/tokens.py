"""Collapse within images: equal tokens, and outliers."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_norm.monitors.declare import monitor


@monitor(
    inputs="tokens",
    prepares="normalizes",
    cost="linear",
    at_collapse=1.0,
    at_even="about 0",
    equation="mean_n mean_{s != t} z[n, s] . z[n, t]",
    source="own definition",
    in_runs=False,
)
def token_cosine(tokens: Tensor) -> Tensor:
    """Return the mean cosine of different tokens of one image; 1 if they have collapsed.

    Equal tokens (N >= 2, T, D) within each image are a collapse that pooled vectors do not show,
    because these may still differ between images. The value, a scalar in [-1, 1], has no gradient.
    With T = 1 there are no two tokens, and it is NaN.
    """
    z = F.normalize(_wide(tokens), dim=2, eps=1e-300)
    count = z.shape[1]
    different = z.sum(1).square().sum(1) - z.square().sum((1, 2))
    pairs = count * (count - 1)
    return different.mean() / pairs if pairs else z.new_full((), torch.nan)


@monitor(
    inputs="tokens",
    prepares="nothing",
    cost="linear",
    at_collapse=0.0,
    at_even="0",
    equation="mean_nt [|z[n, t]| > 4 median_nt |z[n, t]|]",
    source="after arXiv 2309.16588, figure 3",
    in_runs=False,
)
def token_outliers(tokens: Tensor) -> Tensor:
    """Return the share of tokens that are far longer than most, 0 at complete collapse.

    Vision transformers may turn a few background tokens into long registers of global content. This
    is not a collapse, and pooled vectors do not show it. Outliers are more than four times as long
    as the median of the tokens (N >= 2, T, D). The value, a scalar in [0, 0.5), has no gradient.

    Source: Darcet et al., arXiv 2309.16588, with a fixed threshold of length (150 for DINOv2
    ViT-g), which fits only one network.
    """
    lengths = torch.linalg.vector_norm(_wide(tokens), dim=2)
    outliers: Tensor = (lengths > 4 * lengths.median()).to(lengths.dtype)
    return outliers.where(lengths.isfinite(), torch.nan).mean()


def _wide(tokens: Tensor) -> Tensor:
    if tokens.ndim != 3 or tokens.shape[0] < 2 or 0 in tokens.shape:
        raise ValueError(f"tokens must have shape (N >= 2, T, D), got {tuple(tokens.shape)}")
    return tokens.detach().to(torch.float32 if tokens.device.type == "mps" else torch.float64)
