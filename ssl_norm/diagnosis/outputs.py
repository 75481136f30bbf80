"""Networks of a checkpoint, trained and at random initialization, and their outputs for views."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ssl_norm.console import say, track
from ssl_norm.data.batches.sampler import epoch_order
from ssl_norm.data.dataset import ImageSet
from ssl_norm.errors import UserError
from ssl_norm.evaluate.checkpoint import Checkpoint
from ssl_norm.models.foreign_projector import find_projector
from ssl_norm.models.load import LoadReport
from ssl_norm.monitors.layers import LayerOutputs, layers_of
from ssl_norm.norms.batch.freezing import evaluation_mode

_MakeViews = Callable[[Tensor, torch.Generator], Sequence[Tensor]]


@dataclass(frozen=True)
class Network:
    """An encoder and its known heads."""

    encoder: nn.Module
    projector: nn.Module | None = None
    predictor: nn.Module | None = None

    @property
    def parts(self) -> nn.ModuleDict:
        """Encoder and known heads by name."""
        return nn.ModuleDict({name: part for name, part in vars(self).items() if part is not None})

    def __call__(self, view: Tensor) -> dict[str, Tensor]:
        """Return `features` and perhaps `projections` of a view (B, 3, S, S), after all parts ran."""
        outputs = {"features": self.encoder(view)}
        if self.projector is not None:
            outputs["projections"] = self.projector(outputs["features"])
            if self.predictor is not None:
                self.predictor(outputs["projections"])
        return outputs


@dataclass(frozen=True)
class Outputs:
    """Outputs of a network on the CPU, for q views of N images in one order."""

    features: Tensor  # (q, N, F)
    projections: Tensor | None  # (q, N, D); None without a known projector
    # pooled outputs (N, C) for the first two views, by the name of the layer; layers whose output
    # is not a tensor are missing
    layers: dict[str, tuple[Tensor, Tensor]]


@torch.no_grad()
def collect_outputs(network: Network, batches: Iterable[Sequence[Tensor]]) -> Outputs:
    """Return the outputs of a network in evaluation mode; its weights and mode are unchanged.

    The network must be on the device of the views, which are those of :func:`draw_views`.

    Raises:
        UserError: an output is NaN or infinite.
    """
    found: dict[str, dict[int, list[Tensor]]] = {}
    layers = layers_of(**vars(network))
    with evaluation_mode(network.parts), LayerOutputs(layers) as one, LayerOutputs(layers) as two:
        for views in batches:
            for number, view in enumerate(views):
                one.listening, two.listening = number == 0, number == 1
                for name, output in network(view).items():
                    parts = found.setdefault(name, {}).setdefault(number, [])
                    parts.append(output.float().cpu())
    embeddings = {
        name: torch.stack([torch.cat(parts) for parts in views.values()])
        for name, views in found.items()
    }
    if wrong := [name for name, values in embeddings.items() if not values.isfinite().all()]:
        state = network.parts.state_dict().items()
        first = next((name for name, value in state if not value.isfinite().all()), None)
        reason = f"{first} is its first tensor that is not finite"
        overflow = "all its tensors are finite, so a layer overflows"
        raise UserError(
            f"the checkpoint's weights give {wrong[0]} that are not finite: "
            f"{reason if first else overflow}; use an earlier checkpoint"
        )
    seen = {
        name: (torch.cat(one.kept[name]).cpu(), torch.cat(two.kept[name]).cpu())
        for name in layers
        if one.kept[name]
    }
    return Outputs(embeddings["features"], embeddings.get("projections"), seen)


def draw_views(
    images: ImageSet,
    make_views: _MakeViews,
    *,
    samples: int,
    views: int,
    batch_size: int,
    seed: int,
    device: torch.device,
    description: str,
) -> Iterator[list[Tensor]]:
    """Yield `views` views of images that `seed` draws, batch by batch, with a progress bar.

    The images are the same for every network. A single last image is added to the batch before.
    `make_views` takes uint8 images (B, 3, H, W) and a generator; views are (B, 3, S, S).

    Raises:
        UserError: there are fewer than two images.
    """
    index = epoch_order(len(images), seed, 0)[:samples]
    if len(index) < 2:
        raise UserError(f"{len(index)} image(s) found; a diagnosis compares at least 2")
    generator = torch.Generator().manual_seed(seed)
    batches = list(torch.split(index, batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    for batch in track(batches, description, total=len(index), step=batch_size, enabled=True):
        pixels = images.take(batch).permute(0, 3, 1, 2).to(device)
        made: list[Tensor] = []
        while len(made) < views:
            made.extend(make_views(pixels, generator))
        yield made[:views]


class TrainedNetwork(NamedTuple):
    """A network with the weights of a checkpoint."""

    network: Network
    report: LoadReport  # which tensors of the learner, or of the encoder for other files, match
    projector: str  # text on the origin of the projections


def trained_network(checkpoint: Checkpoint) -> TrainedNetwork:
    """Return the online network of a run, or the encoder and an MLP projector of another file.

    Raises:
        UserError: the weights do not fit.
    """
    if checkpoint.kind == "run":
        network = _online_network(checkpoint)
        report = LoadReport("learner", "online", tuple(checkpoint.contents["learner"]))
        say(f"{checkpoint.path}: {report}")
        return TrainedNetwork(network, report, "projections of its projector")
    encoder, report = checkpoint.encoder()
    width: int = encoder.num_features  # type: ignore[assignment]
    found = find_projector(report.weights, report.prefix, width)
    mlp, origin = "Linear, batch norm and ReLU", "projections not measured: "
    if found.head is not None:
        origin = f"projections of {found.name}, assumed to be {mlp}"
    elif found.name is not None:
        origin += f"{found.name} is not a plain MLP of {mlp}"
    else:
        origin += "the file has no projector under a known name"
    return TrainedNetwork(Network(encoder, found.head), report, origin)


def untrained_network(checkpoint: Checkpoint, trained: Network) -> Network:
    """Return the same network at random initialization."""
    if checkpoint.kind == "run":
        return _online_network(checkpoint, trained=False)
    projector = deepcopy(trained.projector)
    for layer in projector.modules() if projector is not None else ():
        if isinstance(layer, nn.Linear | nn.BatchNorm1d):
            layer.reset_parameters()
    return Network(checkpoint.untrained_encoder(), projector)


def _online_network(checkpoint: Checkpoint, *, trained: bool = True) -> Network:
    learner, encoder = checkpoint.networks(trained=trained)
    return Network(encoder, *(getattr(learner, name, None) for name in ("projector", "predictor")))
