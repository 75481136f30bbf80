"""Networks of a checkpoint, trained and at random initialization, and their outputs for views."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ssl_norm.console import say, track
from ssl_norm.data.batches.sampler import epoch_order
from ssl_norm.data.dataset import ImageSet
from ssl_norm.errors import UserError
from ssl_norm.evaluate.checkpoint import Checkpoint
from ssl_norm.evaluate.features import evaluation_mode
from ssl_norm.learners.learner import Learner
from ssl_norm.models.checkpoint_prefixes import state_dicts
from ssl_norm.models.foreign_projector import FoundHead, find_projector
from ssl_norm.models.load import LoadReport, load_encoder_weights
from ssl_norm.monitors.layers import LayerOutputs, layers_of

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
            batches, total = list(torch.split(index, batch_size)), len(index)
            if len(batches) > 1 and len(batches[-1]) == 1:
                batches[-2:] = [torch.cat(batches[-2:])]
            for batch in track(batches, description, total=total, step=batch_size, enabled=True):
                pixels = images.take(batch).permute(0, 3, 1, 2).to(device)
                made: list[Tensor] = []
                while len(made) < views:
                    made.extend(make_views(pixels, generator))
                for number, view in enumerate(made[:views]):
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


def _finite(batches: list[list[Tensor]], name: str, network: Network) -> Tensor:
    """Return the outputs of all batches of each view as (q, N, D), or raise UserError."""
    outputs = torch.stack([torch.cat(view) for view in batches])
    if outputs.isfinite().all():
        return outputs
    tensors = (
        (f"{part}.{key}", value)
        for part, module in vars(network).items()
        for key, value in (module.state_dict() if module is not None else {}).items()
    )
    reason = next(
        (
            f"{place} is the first of its tensors that is not finite"
            for place, value in tensors
            if isinstance(value, Tensor) and not value.isfinite().all()
        ),
        "its tensors are finite, so that a layer overflows",
    )
    raise UserError(
        f"the checkpoint's weights give {name} that are not finite: {reason}; "
        "use an earlier checkpoint"
    )


class TrainedNetwork(NamedTuple):
    """A network with the weights of a checkpoint.

    Attributes:
        checkpoint: that it is of, with the stem that its weights have.
        network: encoder and heads.
        report: match of the learner's tensors; for other files, of the encoder's.
        projector: sentence on the origin of the projections.
    """

    checkpoint: Checkpoint
    network: Network
    report: LoadReport
    projector: str


def trained_network(checkpoint: Checkpoint) -> TrainedNetwork:
    """Return the online network of a run; of another file, the encoder and an MLP projector.

    Raises:
        UserError: the weights do not fit.
    """
    if checkpoint.kind == "run":
        network = _online_network(checkpoint.learner())
        report = LoadReport("learner", tuple(checkpoint.contents["learner"]), (), (), ())
        return TrainedNetwork(checkpoint, network, report, "projections of its projector")
    checkpoint, encoder, report = _fitting_encoder(checkpoint)
    if left := len(report.missing) + len(report.shape_mismatch):
        say(
            f"{left} tensors of the encoder are random, as the file has none that fit, and the "
            "diagnosis is of this mixture"
        )
    weights = dict(state_dicts(checkpoint.contents))[report.nesting]
    width: int = encoder.num_features  # type: ignore[assignment]
    found = find_projector(weights, report.prefix, width)
    return TrainedNetwork(checkpoint, Network(encoder, found.head), report, _origin(found))


def untrained_network(trained: TrainedNetwork) -> Network:
    """Return the same network at random initialization."""
    checkpoint = trained.checkpoint
    if checkpoint.kind == "run":
        return _online_network(checkpoint.learner(trained=False))
    encoder = checkpoint.untrained_encoder()
    projector = deepcopy(trained.network.projector)
    for layer in projector.modules() if projector is not None else ():
        if isinstance(layer, nn.Linear | nn.BatchNorm1d):
            layer.reset_parameters()
    return Network(encoder, projector)


def _online_network(learner: Learner) -> Network:
    heads = (getattr(learner, name, None) for name in ("projector", "predictor"))
    return Network(learner.encoder, *heads)


def _origin(found: FoundHead) -> str:
    mlp = "Linear, batch norm and ReLU"
    if found.head is not None:
        return f"projections of {found.name}, taken to be {mlp}"
    if found.name is not None:
        return f"projections not looked at: {found.name} is no plain MLP of {mlp}"
    return "projections not looked at: the file has no projector under a known name"


def _fitting_encoder(checkpoint: Checkpoint) -> tuple[Checkpoint, nn.Module, LoadReport]:
    """Return the encoder with its weights; a stem that was left open is the one in the file."""
    encoder, report = checkpoint.encoder()
    if checkpoint.small_images is None and report.shape_mismatch:
        for small_images in (False, True):
            other = replace(checkpoint, small_images=small_images)
            try:
                network = other.untrained_encoder()
            except UserError:  # no such stem
                continue
            found = load_encoder_weights(
                network, other.path, min_match=0.0, contents=other.contents
            )
            if found.match > report.match:
                say(f"encoder.small_images={str(small_images).lower()}, the stem that the file has")
                checkpoint, encoder, report = other, network, found
    return checkpoint, encoder, report
