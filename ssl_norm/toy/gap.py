"""Gap between the activations of labelled and of unlabelled samples in the layers of a network."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ssl_norm.norms.batch.evaluation_statistics import population_statistics_at_evaluation
from ssl_norm.norms.swap.find import batch_norm_calls
from ssl_norm.toy.samples import Samples


class LayerValues(NamedTuple):
    """Values of C channels in one batch norm, normalized by its population statistics."""

    labelled: Tensor  # (V, C), values of the labelled samples at all positions
    control: Tensor  # (V', C), values of as many unlabelled samples of the same classes
    unlabelled: Tensor  # (W, C), values of the other unlabelled samples


class Gap(NamedTuple):
    """Distances in one layer: means over channels, in deviations of the unlabelled values."""

    labelled: float  # Wasserstein distance of the labelled from the unlabelled values
    control: float  # Wasserstein distance of the control, which is due to its small size
    shift: float  # distance of the unlabelled mean from the mean by which the layer normalizes


def layer_values(model: nn.Module, samples: Samples) -> list[LayerValues]:
    """Return the values of every batch norm of a model in evaluation mode, in order.

    The control consists of the first unlabelled samples of each class, as many as are labelled.
    """
    per_class = samples.labels.bincount().tolist()
    chosen = [(samples.truth == c).nonzero()[:count, 0] for c, count in enumerate(per_class)]
    is_control = torch.zeros(len(samples.truth), dtype=torch.bool)
    is_control[torch.cat(chosen)] = True
    parts = (
        samples.labelled,
        samples.unlabelled[is_control],
        samples.unlabelled[~is_control],
    )
    values = (_values(model, inputs) for inputs in parts)
    return [LayerValues(*layer) for layer in zip(*values, strict=True)]


@torch.no_grad()
def _values(model: nn.Module, inputs: Tensor) -> list[Tensor]:
    """Return the normalized input (V, C) of every batch norm, before weight and bias."""
    found: list[Tensor] = []

    def keep(_: str, norm: Any, x: Tensor, _output: Tensor) -> None:
        values = x.movedim(1, -1).flatten(0, -2)
        found.append((values - norm.running_mean) / (norm.running_var + norm.eps).sqrt())

    with population_statistics_at_evaluation(model), batch_norm_calls(model, keep):
        model(inputs)
    return found


def gap(values: LayerValues) -> Gap:
    """Return the distances in one layer, without channels of constant unlabelled values."""
    varies = values.unlabelled.std(0) > 0
    labelled, control, unlabelled = (part[:, varies] for part in values)
    deviation = unlabelled.std(0)
    return Gap(
        labelled=(wasserstein(labelled, unlabelled) / deviation).mean().item(),
        control=(wasserstein(control, unlabelled) / deviation).mean().item(),
        shift=(unlabelled.mean(0).abs() / deviation).mean().item(),
    )


def wasserstein(first: Tensor, second: Tensor) -> Tensor:
    """Return the Wasserstein-1 distances (C,) between the columns of samples (V, C) and (W, C).

    Example:
        >>> wasserstein(torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0]]))
        tensor([2.5000])
    """
    from scipy.stats import wasserstein_distance  # takes a second to import

    columns = zip(first.T.numpy(), second.T.numpy(), strict=True)
    return first.new_tensor([wasserstein_distance(one, other) for one, other in columns])
