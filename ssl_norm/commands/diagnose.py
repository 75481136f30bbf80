"""tools/diagnose.py: from a checkpoint and images to a verdict, its evidence and where a collapse begins."""

from collections.abc import Mapping
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from ssl_norm.commands.checkpoint_inputs import (
    FOREIGN_MATCH,
    find_checkpoint,
    find_output,
    saved_config,
    untrained_encoder,
)
from ssl_norm.config import AugmentConfig, DiagnoseConfig, PretrainConfig
from ssl_norm.console import say
from ssl_norm.data.dataset import ImageSet
from ssl_norm.diagnose.diagnosis import RANDOM_INIT, Diagnosis, diagnose_outputs, diagnosis_record
from ssl_norm.diagnose.outputs import Network, collect_outputs
from ssl_norm.diagnose.picture import draw_diagnosis
from ssl_norm.diagnose.tables import layer_table, monitor_table, notes, verdict_lines
from ssl_norm.errors import UserError
from ssl_norm.evaluate.subject import Subject, find_subject, run_of_subject
from ssl_norm.learners.learner import Learner
from ssl_norm.models.checkpoint_prefixes import state_dicts
from ssl_norm.models.foreign_projector import find_projector
from ssl_norm.models.load import LoadReport, load_encoder_weights, read_checkpoint
from ssl_norm.norms.batch.evaluation_statistics import batch_statistics_at_evaluation
from ssl_norm.options import replace
from ssl_norm.settings.method import method_model
from ssl_norm.train.builder import initial_encoder, load_images, make_learner, make_views, naming
from ssl_norm.train.device import pick_device
from ssl_norm.train.environment import describe_environment
from ssl_norm.train.restore import restore_config, restore_learner
from ssl_norm.train.run_folder import write_json

RANDOM_SAMPLES = 500  # images that the random initialisation is measured on


@dataclass(frozen=True)
class Held:
    """What a checkpoint holds.

    Attributes:
        network: with the weights of the checkpoint.
        random_init: the same network as it was initialised.
        run: the configuration whose augmentation makes the views.
        match: how many of the weights were found, in words.
        unmatched: names of the encoder's tensors that keep random values.
        projector: where the projections come from, or why there are none.
        step: of the run; 0 for a file of weights.
    """

    network: Network
    random_init: Network
    run: PretrainConfig
    match: str
    unmatched: tuple[str, ...]
    projector: str
    step: int


def diagnose(config: DiagnoseConfig) -> None:
    """Measure a checkpoint, write diagnosis.json and a picture, and print tables and the verdict.

    Raises:
        UserError: the checkpoint, the data or the settings do not allow it.
    """
    device = pick_device(config.device)
    checkpoint = find_checkpoint(config.checkpoint)
    name = "diagnosis.json" if checkpoint.name == "last.pt" else f"{checkpoint.name}_diagnosis.json"
    output = find_output(config.output, checkpoint, name)
    contents = read_checkpoint(checkpoint)
    saved = saved_config(contents, checkpoint)
    subject = find_subject(config, saved)
    if saved and "classes" not in contents:
        held = held_by_run(subject, restore_config(saved), contents)
    else:
        held = held_by_weights(subject, checkpoint, contents)
    say(f"{checkpoint}: {held.match}; {held.projector}")
    images = load_images(subject.data, subject.seed).pretrain
    found = diagnose_network(config, held, images, device, random=False)
    random_init = (
        diagnose_network(config, held, images, device, random=True) if config.random_init else None
    )
    record = diagnosis_record(found, random_init) | {
        "projector": held.projector,
        "images": min(config.samples, len(images)),
        "images_random_init": min(config.samples, RANDOM_SAMPLES, len(images)),
        "random_init": RANDOM_INIT if config.random_init else None,
        "batch_size": config.batch_size,
        "views": config.views,
        "checkpoint": str(checkpoint),
        "step": held.step,
        "match": held.match,
        "unmatched": list(held.unmatched),
        "encoder": subject.encoder.name,
        "image_size": subject.data.view_size,
        "data": {"name": subject.data.name, "root": subject.data.root},
        "seed": config.seed,
        "environment": describe_environment(device),
    }
    write_json(output, record)
    picture = output.with_suffix(".png")
    draw_diagnosis(found, random_init, f"{checkpoint}: {found.verdict}", picture)
    print_outcome(found, random_init, output, picture)


def held_by_run(subject: Subject, run: PretrainConfig, contents: Mapping[str, Any]) -> Held:
    """Return the learner of a run of this package, with encoder and heads."""
    run = run_of_subject(run, subject)
    learner = restore_learner(run, contents["learner"])
    tensors = len(contents["learner"])
    return Held(
        network=parts_of(learner),
        random_init=parts_of(make_learner(run, initial_encoder(run)[0])),
        run=replace(run, data=replace(run.data, image_size=subject.data.view_size)),
        match=f"{tensors} of {tensors} tensors match (learner)",
        unmatched=(),
        projector="projections of its projector",
        step=int(contents["step"]),
    )


def parts_of(learner: Learner) -> Network:
    """Return the online network of a learner."""
    heads = (getattr(learner, name, None) for name in ("projector", "predictor"))
    return Network(learner.encoder, *heads)


def held_by_weights(subject: Subject, checkpoint: Path, contents: Mapping[str, Any]) -> Held:
    """Return the encoder of a file of weights, and its projector where that is a plain MLP."""
    subject, encoder, report = fitting_encoder(subject, checkpoint)
    if left := len(report.missing) + len(report.shape_mismatch):
        say(
            f"{left} tensors of the encoder are random, as the file has none that fit, and the diagnosis is of "
            "this mixture"
        )
    weights = dict(state_dicts(contents))[report.nesting]
    width: int = encoder.num_features  # type: ignore[assignment]
    name, head = find_projector(weights, report.prefix, width)
    if head is not None:
        said = f"projections of {name}, taken to be Linear, batch norm and ReLU"
    elif name is not None:
        said = f"projections not looked at: {name} is no plain MLP of Linear, batch norm and ReLU"
    else:
        said = "projections not looked at: the file has no projector under a known name"
    pixels: dict[str, Any] = {"mean": subject.mean, "std": subject.std}
    return Held(
        network=Network(encoder, head),
        random_init=Network(untrained_encoder(subject), fresh(head)),
        run=PretrainConfig(
            method=method_model("byol")(), data=subject.data, augment=AugmentConfig(**pixels)
        ),
        match=str(report),
        unmatched=(*report.missing, *report.shape_mismatch),
        projector=said,
        step=0,
    )


def fitting_encoder(subject: Subject, checkpoint: Path) -> tuple[Subject, nn.Module, LoadReport]:
    """Return the encoder with the weights of a file.

    Where the user leaves the stem open and the file has another one than images of this size usually get, the encoder
    is built with the file's.
    """
    encoder = untrained_encoder(subject)
    report = load_encoder_weights(encoder, checkpoint, min_match=FOREIGN_MATCH)
    if subject.encoder.small_images is None and report.shape_mismatch:
        for small_images in (False, True):
            stem = replace(subject, encoder=replace(subject.encoder, small_images=small_images))
            try:
                other = untrained_encoder(stem)
            except UserError:  # no such stem
                continue
            found = load_encoder_weights(other, checkpoint, min_match=0.0)
            if found.match > report.match:
                say(f"encoder.small_images={str(small_images).lower()}, the stem that the file has")
                subject, encoder, report = stem, other, found
    return subject, encoder, report


def fresh(head: nn.Sequential | None) -> nn.Sequential | None:
    """Return a copy of an MLP at a random initialisation."""
    copy = deepcopy(head)
    for layer in copy or ():
        if isinstance(layer, nn.Linear | nn.BatchNorm1d):
            layer.reset_parameters()
    return copy


def diagnose_network(
    config: DiagnoseConfig, held: Held, images: ImageSet, device: torch.device, *, random: bool
) -> Diagnosis:
    """Return the diagnosis of the trained network, or of the random one on fewer images.

    The random network normalizes with the statistics of its batches, because its running ones are of no data.
    """
    network = held.random_init if random else held.network
    description = "random init" if random else "checkpoint"
    network.to(device)
    parts = nn.ModuleList(part for part in vars(network).values() if part is not None)
    with (
        naming("batch_size"),
        batch_statistics_at_evaluation(parts) if random else nullcontext(),
    ):
        outputs = collect_outputs(
            network,
            images,
            make_views(held.run),
            samples=min(config.samples, RANDOM_SAMPLES) if random else config.samples,
            views=config.views,
            batch_size=config.batch_size,
            seed=config.seed,
            device=device,
            description=description,
        )
    if not Console(stderr=True).is_terminal:  # where no bar was seen
        count = outputs.features.shape[1]
        say(f"{description}: {config.views} views of {count} images, {len(outputs.layers)} layers")
    return diagnose_outputs(outputs, 0 if random else held.step)


def print_outcome(
    found: Diagnosis, random_init: Diagnosis | None, output: Path, picture: Path
) -> None:
    """Print the tables, the verdict, and where the files are."""
    console = Console()
    console.print(monitor_table(found, random_init))
    console.print(layer_table(found, random_init))
    for line in notes(found, random_init):
        console.print(line, highlight=False, soft_wrap=True, markup=False, style="dim")
    for line in verdict_lines(found):
        console.print(line, highlight=False, soft_wrap=True)
    written = f"written to {output} and {picture}"
    console.print(written, highlight=False, soft_wrap=True, markup=False)
