"""Heads: MLPs (projectors, predictors) and the linear layer of a classifier."""

from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor, nn

from ssl_norm.norms import NORMS, NormLike, NormSpec, make_norm, parse_norm
from ssl_norm.norms.batch.freezing import evaluation_mode
from ssl_norm.norms.layers.weight_standardization import standardize_weights

CLASSIFIER_STREAM = 0x_C1A55  # makes the seed of the linear layer differ from the encoder's


def mlp_head(
    in_features: int,
    *,
    layers: Annotated[int, Interval(ge=0, le=100)] = 2,
    hidden_dim: Annotated[int, Interval(ge=1, le=10**6)] = 512,
    output_dim: Annotated[int, Interval(ge=1, le=10**6)] = 128,
    norm: NormLike,
    norm_output: bool | NormLike = False,
) -> nn.Sequential:
    """Return an MLP: `layers - 1` times (Linear, norm, ReLU), then a Linear for the output.

    `+ws` in the norm standardizes the weights of the Linear layers that the norm follows.

    Args:
        in_features: width of the input.
        layers: number of Linear layers; 0 makes the identity.
        hidden_dim: width of every hidden layer.
        output_dim: width of the output.
        norm: norm of each hidden layer, see `parse_norm`, or a class or function of `num_features`.
        norm_output: whether the norm also follows the output layer, as in SimCLR but not in BYOL
            and MoCo v2; or another norm for the output, such as `zca` for whitening (W-MSE,
            arXiv 2007.06346). The output layer has no bias if its norm has a shift.

    Raises:
        ValueError: a norm is unknown or cannot have that width, or a norm or another width is given
            for an output layer that does not exist.
        TypeError: a norm has no such option.

    Source: BYOL, arXiv 2006.07733, section 3.3; SimCLR, arXiv 2002.05709, its published code.
    """
    spec = parse_norm(norm)
    output_spec = output_norm(spec, norm_output)
    if layers == 0:
        if not isinstance(norm_output, bool):
            raise ValueError(f"a head of 0 layers has no output for norm_output='{output_spec}'")
        if output_dim != in_features:
            raise ValueError(
                f"a head of 0 layers keeps the width: set output_dim={in_features}, "
                f"got {output_dim}"
            )
        return nn.Sequential()
    widths = [in_features] + [hidden_dim] * (layers - 1)
    head = nn.Sequential()
    for width in widths[:-1]:
        head.extend([*_normalized_linear(width, hidden_dim, spec), nn.ReLU()])
    head.extend(_normalized_linear(widths[-1], output_dim, output_spec, is_output=True))
    return head


def _normalized_linear(
    in_features: int, out_features: int, norm: NormSpec, *, is_output: bool = False
) -> list[nn.Module]:
    """Return a Linear layer and its norm, if any; an output has no bias if its norm shifts."""
    try:
        layer = make_norm(norm, out_features)
    except ValueError as error:
        raise ValueError(
            f"a head of width {out_features} cannot have norm '{norm}': {error}"
        ) from error
    _check_vectors(norm, layer, out_features)
    norm_shifts = isinstance(getattr(layer, "bias", None), nn.Parameter)
    linear: nn.Module = nn.Linear(in_features, out_features, bias=not (is_output and norm_shifts))
    if norm.weight_standardization:
        linear = standardize_weights(linear)
    return [linear] if norm.name == "none" else [linear, layer]


@torch.no_grad()
def _check_vectors(norm: NormSpec, layer: nn.Module, width: int) -> None:
    """Raise ValueError if a norm of another package does not take rows (N, width)."""
    if norm.constructor is None and norm.name in NORMS.built_in:
        return
    like = next(iter(layer.state_dict().values()), torch.empty(()))
    rows = like.new_zeros(2, width, dtype=torch.get_default_dtype())
    try:
        with evaluation_mode(layer):
            layer.forward(rows)
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"a head has rows (N, {width}), which norm '{norm}' does not take: {error}"
        ) from error


def output_norm(norm: NormSpec, norm_output: bool | NormLike) -> NormSpec:
    """Return the norm after the output layer: that of the hidden layers, `none`, or another one.

    Example:
        >>> bn = parse_norm("bn")
        >>> [str(output_norm(bn, choice)) for choice in (True, False, "iternorm")]
        ['bn', 'none', 'iternorm']
    """
    if isinstance(norm_output, bool):
        return norm if norm_output else NormSpec("none")
    return parse_norm(norm_output)


class Classifier(nn.Module):
    """Classifier of images: an encoder and a linear layer, which are trained together.

    The encoder maps images (N, 3, H, W) to features (N, num_features), and has the attribute
    `num_features`. The seed is that of the linear layer, whose initial weights are therefore the
    same for all norms.

    Example:
        >>> encoder = nn.Flatten()
        >>> encoder.num_features = 12
        >>> Classifier(encoder, 10, seed=0)(torch.zeros(4, 3, 2, 2)).shape
        torch.Size([4, 10])
    """

    def __init__(self, encoder: nn.Module, classes: int, *, seed: int) -> None:
        super().__init__()
        width: int = encoder.num_features  # type: ignore[assignment]
        self.encoder = encoder
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed ^ CLASSIFIER_STREAM)
            self.classifier = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, K) of images (N, 3, H, W), float."""
        logits: Tensor = self.classifier(self.encoder(images))
        return logits
