"""The networks of a checkpoint that are diagnosed: trained, and at random initialization."""

from copy import deepcopy
from dataclasses import replace
from typing import NamedTuple

from torch import nn

from ssl_norm.console import say
from ssl_norm.diagnose.outputs import Network
from ssl_norm.errors import UserError
from ssl_norm.evaluate.checkpoint import Checkpoint
from ssl_norm.learners.learner import Learner
from ssl_norm.models.checkpoint_prefixes import state_dicts
from ssl_norm.models.foreign_projector import FoundHead, find_projector
from ssl_norm.models.load import LoadReport, load_encoder_weights


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
    if found.head is not None:
        return f"projections of {found.name}, taken to be Linear, batch norm and ReLU"
    if found.name is not None:
        return (
            f"projections not looked at: {found.name} is no plain MLP of Linear, batch norm and "
            "ReLU"
        )
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
