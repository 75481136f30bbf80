"""Diagnosis of a checkpoint: tools/diagnose.py."""

from contextlib import nullcontext

import torch
from torch import nn

from ssl_norm.console import Terminal, say
from ssl_norm.data.dataset import ImageSet
from ssl_norm.diagnosis.diagnosis import RANDOM_INIT, diagnose_outputs, diagnosis_record
from ssl_norm.diagnosis.outputs import (
    Network,
    Outputs,
    collect_outputs,
    trained_network,
    untrained_network,
)
from ssl_norm.diagnosis.presentation import draw_diagnosis, print_diagnosis
from ssl_norm.evaluate.checkpoint import Checkpoint
from ssl_norm.evaluate.record import Result, find_output
from ssl_norm.files import write_json
from ssl_norm.norms.batch.evaluation_statistics import batch_statistics_at_evaluation
from ssl_norm.settings.tools import DiagnoseSettings
from ssl_norm.train.builder import naming
from ssl_norm.train.device import pick_device
from ssl_norm.train.environment import describe_environment
from ssl_norm.train.population import MakeViews

RANDOM_SAMPLES = 500  # images that the random initialization is measured on


def diagnose(config: DiagnoseSettings) -> Result:
    """Measure a checkpoint; write diagnosis.json and a picture; print tables and the verdict.

    Raises:
        UserError: the checkpoint, the data or the settings do not allow it.
    """
    device = pick_device(config.device)
    checkpoint = Checkpoint.read(config.checkpoint, config.model_dump())
    path = checkpoint.path
    name = "diagnosis.json" if path.name == "last.pt" else f"{path.name}_diagnosis.json"
    output = find_output(config.output, path, name)
    trained = trained_network(checkpoint)
    say(f"{path}: {trained.report}; {trained.projector}")
    is_run = checkpoint.kind == "run"
    step = checkpoint.step if is_run else 0
    views = checkpoint.random_views(checkpoint.settings().augment if is_run else None)
    images = checkpoint.images().pretrain
    outputs = _outputs_of(config, trained.network, images, views, device)
    found = diagnose_outputs(outputs, step or 0)
    random_init = None
    if config.random_init:
        network = untrained_network(trained)
        random_init = diagnose_outputs(
            _outputs_of(config, network, images, views, device, random=True), 0
        )
    record = diagnosis_record(found, random_init) | {
        "projector": trained.projector,
        "images": min(config.samples, len(images)),
        "images_random_init": min(config.samples, RANDOM_SAMPLES, len(images)),
        "random_init": RANDOM_INIT if config.random_init else None,
        "batch_size": config.batch_size,
        "views": config.views,
        "checkpoint": str(path),
        "step": step,
        "match": str(trained.report),
        "unmatched": [*trained.report.missing, *trained.report.shape_mismatch],
        "encoder": checkpoint.encoder_name,
        "image_size": checkpoint.view_size,
        "data": {name: checkpoint.data.get(name) for name in ("name", "root")},
        "seed": config.seed,
        "environment": describe_environment(device),
    }
    write_json(output, record)
    picture = output.with_suffix(".png")
    draw_diagnosis(found, random_init, f"{path}: {found.verdict}", picture)
    print_diagnosis(found, random_init)
    say(f"written to {output} and {picture}", stderr=False)
    return Result(record, output, {"picture": picture})


def _outputs_of(
    config: DiagnoseSettings,
    network: Network,
    images: ImageSet,
    make_views: MakeViews,
    device: torch.device,
    *,
    random: bool = False,
) -> Outputs:
    """Return the outputs of the trained network, or of the random one on fewer images.

    The random one normalizes with batch statistics, because its running ones are of no data.
    """
    description = "random init" if random else "checkpoint"
    network.to(device)
    parts = nn.ModuleList(part for part in vars(network).values() if part is not None)
    statistics = batch_statistics_at_evaluation(parts) if random else nullcontext()
    with naming("batch_size"), statistics:
        outputs = collect_outputs(
            network,
            images,
            make_views,
            samples=min(config.samples, RANDOM_SAMPLES) if random else config.samples,
            views=config.views,
            batch_size=config.batch_size,
            seed=config.seed,
            device=device,
            description=description,
        )
    if not Terminal().is_terminal:  # a terminal shows a bar
        count = outputs.features.shape[1]
        say(f"{description}: {config.views} views of {count} images, {len(outputs.layers)} layers")
    return outputs
