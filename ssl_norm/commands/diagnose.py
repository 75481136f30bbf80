"""Diagnosis of a checkpoint: tools/diagnose.py."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ssl_norm.console import Terminal, say, show, warned
from ssl_norm.data.batches.sampler import epoch_order
from ssl_norm.data.dataset import ImageSet, Splits
from ssl_norm.diagnosis.diagnosis import RANDOM_INIT, diagnose_outputs, diagnosis_record
from ssl_norm.diagnosis.outputs import (
    Network,
    Outputs,
    TrainedNetwork,
    collect_outputs,
    draw_views,
    trained_network,
    untrained_network,
)
from ssl_norm.diagnosis.presentation import draw_diagnosis, print_diagnosis
from ssl_norm.errors import UserError
from ssl_norm.evaluate.baselines import baseline_encoders, below_floor
from ssl_norm.evaluate.checkpoint import Checkpoint
from ssl_norm.evaluate.protocol import Probe, ProbeResult, evaluate_encoder
from ssl_norm.evaluate.record import (
    Result,
    compared_scores,
    evaluation_table,
    find_output,
    writing,
)
from ssl_norm.files import write_json
from ssl_norm.norms.batch.evaluation_statistics import batch_statistics_at_evaluation
from ssl_norm.settings.tools import DiagnoseSettings
from ssl_norm.train.builder import naming
from ssl_norm.train.device import pick_device
from ssl_norm.train.environment import describe_environment
from ssl_norm.train.population import MakeViews

RANDOM_SAMPLES = 500  # number of images for the random initialization


def diagnose(config: DiagnoseSettings) -> Result:
    """Measure a checkpoint; write diagnosis.json and a figure; print tables and the verdict.

    Raises:
        UserError: the checkpoint, the data and the settings do not fit each other.
    """
    device = pick_device(config.device)
    checkpoint = Checkpoint.read(config.checkpoint, config.model_dump())
    path = checkpoint.path
    name = "diagnosis.json" if path.name == "last.pt" else f"{path.name}_diagnosis.json"
    output = find_output(config.output, path, name)
    with writing(output):
        return _diagnose(config, checkpoint, output, device)


def _diagnose(
    config: DiagnoseSettings, checkpoint: Checkpoint, output: Path, device: torch.device
) -> Result:
    path, is_run = checkpoint.path, checkpoint.kind == "run"
    trained = trained_network(checkpoint)
    say(trained.projector)
    views = checkpoint.random_views(checkpoint.settings().augment if is_run else None)
    splits, step = checkpoint.images(), checkpoint.step if is_run else 0
    outputs_of = partial(_outputs_of, config, splits.pretrain, views, device)
    found = diagnose_outputs(outputs_of(trained.network), step or 0)
    random_init = untrained = None
    if config.random_init:
        network = untrained_network(checkpoint, trained.network)
        random_init = diagnose_outputs(outputs_of(network, random=True), 0)
        untrained = network.encoder
    encoders = {"trained": trained.network.encoder, **baseline_encoders(untrained)}
    probed = _probed(config, checkpoint, splits, encoders, device)
    probe = probed.get("trained")
    record = {
        **diagnosis_record(found, random_init),
        **_settings_record(config, checkpoint, trained, len(splits.pretrain)),
        "probe": probe and {**compared_scores(probe, probed), "labels": probe.labels},
        "step": step,
        "environment": describe_environment(device),
    }
    write_json(output, record)
    picture = output.with_suffix(".png")
    with warned(picture.name):
        draw_diagnosis(found, random_init, f"{path}: {found.verdict}", picture)
    print_diagnosis(found, random_init)
    _print_probes(**probed)
    say(f"written to {output} and {picture}", stderr=False)
    return Result(record, output, {"picture": picture})


def _probed(
    config: DiagnoseSettings,
    checkpoint: Checkpoint,
    splits: Splits,
    encoders: Mapping[str, nn.Module],
    device: torch.device,
) -> dict[str, ProbeResult]:
    """Probe encoders on `samples` labelled images; without labels, print a line instead."""

    def few(part: ImageSet) -> ImageSet:
        return part.subset(epoch_order(len(part), config.seed, 0)[: config.samples].sort().values)

    try:
        images = checkpoint.labelled_images(splits)
        images = replace(images, train=few(images.train), test=few(images.test))
    except UserError as error:
        say(f"no linear probe: {error}")
        return {}
    evaluate = partial(
        evaluate_encoder,
        images=images,
        probe=Probe(seed=config.seed),
        batch_size=config.batch_size,
        device=device,
        progress=True,
    )
    return {name: evaluate(encoder) for name, encoder in encoders.items()}


def _print_probes(trained: ProbeResult | None = None, **baselines: ProbeResult) -> None:
    if trained is not None:
        show([evaluation_table(trained, baselines)])
        say(*below_floor(trained.top1, baselines["image_statistics"].top1))


def _settings_record(
    config: DiagnoseSettings, checkpoint: Checkpoint, trained: TrainedNetwork, images: int
) -> dict[str, Any]:
    """Return the settings of a diagnosis for diagnosis.json."""
    return {
        "projector": trained.projector,
        "images": min(config.samples, images),
        "images_random_init": min(config.samples, RANDOM_SAMPLES, images),
        "random_init": RANDOM_INIT if config.random_init else None,
        "batch_size": config.batch_size,
        "views": config.views,
        "checkpoint": str(checkpoint.path),
        "match": str(trained.report),
        "network": trained.report.network,
        "unmatched": list(trained.report.kept),
        "encoder": checkpoint.encoder_name,
        "image_size": checkpoint.view_size,
        "data": {name: checkpoint.data.get(name) for name in ("name", "root")},
        "seed": config.seed,
    }


def _outputs_of(
    config: DiagnoseSettings,
    images: ImageSet,
    make_views: MakeViews,
    device: torch.device,
    network: Network,
    *,
    random: bool = False,
) -> Outputs:
    """Return the outputs of the trained network, or those of the random network on fewer images.

    The random network uses batch statistics, because its running statistics have seen no data.
    """
    description = "random init" if random else "checkpoint"
    parts = network.parts.to(device).to(memory_format=torch.channels_last)
    statistics = batch_statistics_at_evaluation(parts) if random else nullcontext()
    with naming("batch_size"), statistics:
        batches = draw_views(
            images,
            make_views,
            samples=min(config.samples, RANDOM_SAMPLES) if random else config.samples,
            views=config.views,
            batch_size=config.batch_size,
            seed=config.seed,
            device=device,
            description=description,
        )
        outputs = collect_outputs(network, batches)
    if not Terminal().is_terminal:  # a terminal shows a bar
        count = outputs.features.shape[1]
        say(f"{description}: {config.views} views of {count} images, {len(outputs.layers)} layers")
    return outputs
