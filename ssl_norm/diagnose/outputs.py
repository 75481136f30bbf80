"""Outputs of a frozen network, and of its layers, for augmented views of many images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssl_norm.console import track
from ssl_norm.data.batches.sampler import epoch_order
from ssl_norm.data.dataset import ImageSet
from ssl_norm.errors import UserError
from ssl_norm.evaluate.features import evaluation_mode
from ssl_norm.monitors.attach.layer_outputs import LayerOutputs
from ssl_norm.monitors.layers import layers_of

_MakeViews = Callable[[Tensor, torch.Generator], Sequence[Tensor]]


@dataclass(frozen=True)
class Network:
    """An encoder and its known heads."""

    encoder: nn.Module
    projector: nn.Module | None = None
    predictor: nn.Module | None = None

    def to(self, device: torch.device) -> "Network":
        """Move all parts to a device, weights channels last in memory, and return the network."""
        nn.ModuleList(self.parts()).to(device).to(memory_format=torch.channels_last)
        return self

    def parts(self) -> list[nn.Module]:
        """Return encoder and known heads."""
        return [part for part in vars(self).values() if part is not None]


@dataclass(frozen=True)
class Outputs:
    """Outputs of a network for q views of N images, in one order of the images, on the CPU.

    Attributes:
        features: (q, N, F).
        projections: (q, N, D); None where no projector is known.
        layers: by name, the pooled outputs (N, C) of the first two views; without layers whose
            output is no tensor.
    """

    features: Tensor
    projections: Tensor | None
    layers: dict[str, tuple[Tensor, Tensor]]


@torch.no_grad()
def collect_outputs(
    network: Network,
    images: ImageSet,
    make_views: _MakeViews,
    *,
    samples: int,
    views: int,
    batch_size: int,
    seed: int,
    device: torch.device,
    description: str,
) -> Outputs:
    """Return the outputs of a network in evaluation mode; its weights and mode stay.

    Args:
        network: on the device.
        images: N of them are drawn by `seed`, the same ones for every network.
        make_views: from uint8 images (B, 3, H, W) and a generator to views, each (B, 3, S, S).
        samples: N, or all images where there are fewer.
        views: q of each image, at least 2.
        batch_size: images per forward pass; a last one of a single image joins the batch before.
        seed: of the images and their views.
        device: where views are made and passed.
        description: of the bar on stderr.

    Raises:
        UserError: there are fewer than two images, or an output is NaN or infinite.
    """
    index = epoch_order(len(images), seed, 0)[:samples]
    if len(index) < 2:
        raise UserError(f"{len(index)} image(s) found, and a diagnosis compares at least 2")
    generator = torch.Generator().manual_seed(seed)
    features: list[list[Tensor]] = [[] for _ in range(views)]
    projections: list[list[Tensor]] = [[] for _ in range(views)]
    layers = layers_of(network.encoder, network.projector, network.predictor)
    seen = [LayerOutputs(layers), LayerOutputs(layers)]
    try:
        with evaluation_mode(nn.ModuleList(network.parts())):
            batches = _batches(index, batch_size)
            total = len(index)
            for batch in track(batches, description, total=total, step=batch_size, enabled=True):
                pixels = images.take(batch).permute(0, 3, 1, 2).to(device)
                for number, view in enumerate(_many_views(make_views, pixels, generator, views)):
                    for hooks, kept in enumerate(seen):
                        kept.listening = hooks == number
                    feature = network.encoder(view)
                    features[number].append(feature.float().cpu())
                    if network.projector is not None:
                        projection = network.projector(feature)
                        projections[number].append(projection.float().cpu())
                        if network.predictor is not None:
                            network.predictor(projection)
    finally:
        for kept in seen:
            kept.remove()
    first, second = (kept.kept for kept in seen)
    return Outputs(
        _finite(features, "features", network),
        None if network.projector is None else _finite(projections, "projections", network),
        {
            name: (torch.cat(first[name]).cpu(), torch.cat(second[name]).cpu())
            for name in layers
            if first[name]
        },
    )


def _batches(index: Tensor, batch_size: int) -> list[Tensor]:
    """Return the index in batches of at least two."""
    pieces = list(torch.split(index, batch_size))
    if len(pieces) > 1 and len(pieces[-1]) == 1:
        pieces[-2:] = [torch.cat(pieces[-2:])]
    return pieces


def _many_views(
    make_views: _MakeViews, pixels: Tensor, generator: torch.Generator, count: int
) -> list[Tensor]:
    """Return `count` views, by as many calls of `make_views` as that takes."""
    views: list[Tensor] = []
    while len(views) < count:
        views.extend(make_views(pixels, generator))
    return views[:count]


def _finite(batches: list[list[Tensor]], name: str, network: Network) -> Tensor:
    """Return the outputs of all batches of each view as (q, N, D), or raise UserError."""
    outputs = torch.stack([torch.cat(view) for view in batches])
    if outputs.isfinite().all():
        return outputs
    tensor = _first_not_finite(network)
    reason = (
        f"{tensor} is the first of its tensors that is not finite"
        if tensor
        else "its tensors are finite, so that a layer overflows"
    )
    raise UserError(
        f"the checkpoint's weights give {name} that are not finite: {reason}; "
        "use an earlier checkpoint"
    )


def _first_not_finite(network: Network) -> str | None:
    """Return the name of the first tensor with NaN or infinity, in the order of the data."""
    for part, module in vars(network).items():
        tensors = {} if module is None else module.state_dict()
        for name, tensor in tensors.items():
            if isinstance(tensor, Tensor) and not tensor.isfinite().all():
                return f"{part}.{name}"
    return None
