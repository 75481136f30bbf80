"""Diagnosis of a checkpoint: tools/diagnose.py."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from ssl_norm.console import Terminal, say, show, warned
from ssl_norm.data.batches.sampler import epoch_order
from ssl_norm.data.dataset import ImageSet, Splits
from ssl_norm.diagnosis.diagnosis import RANDOM_INIT, diagnose_outputs, diagnosis_record
from ssl_norm.diagnosis.outputs import (
    Network,
    Outputs,
    collect_outputs,
    draw_views,
    trained_network,
    untrained_network,
)
from ssl_norm.diagnosis.presentation import draw_diagnosis, print_diagnosis
from ssl_norm.errors import UserError
from ssl_norm.evaluate.baselines import evaluate_with_baselines
from ssl_norm.evaluate.checkpoint import Checkpoint
from ssl_norm.evaluate.protocol import Probe, ProbeResult, evaluate_encoder
from ssl_norm.evaluate.record import Result, compared_scores, evaluation_table, opened
from ssl_norm.files import write_json
from ssl_norm.norms.batch.evaluation_statistics import batch_statistics_at_evaluation
from ssl_norm.settings.tools import DiagnoseSettings
from ssl_norm.train.builder import naming
from ssl_norm.train.environment import describe_environment
from ssl_norm.train.population import MakeViews

RANDOM_SAMPLES = 500  # number of images for the random initialization


def diagnose(config: DiagnoseSettings) -> Result:
    """Measure a checkpoint; write diagnosis.json and a figure; print tables and the verdict.

    Raises:
        UserError: the checkpoint, the data and the settings do not fit each other.
    """
    with opened(config, _record_name) as (checkpoint, output, device):
        path, is_run = checkpoint.path, checkpoint.kind == "run"
        trained = trained_network(checkpoint)
        say(trained.projector)
        views = checkpoint.random_views(checkpoint.settings().augment if is_run else None)
        splits, step = checkpoint.images(), checkpoint.step if is_run else 0
        outputs_of = partial(_outputs_of, config, splits.pretrain, views, device)
        found = diagnose_outputs(outputs_of(trained.network), step or 0)
        random_init, untrained = None, None
        if config.random_init:
            untrained = untrained_network(checkpoint, trained.network)
            random_init = diagnose_outputs(outputs_of(untrained, random=True), 0)
        probed = _probed(config, checkpoint, splits, trained.network, untrained, device)
        record = {
            **diagnosis_record(found, random_init),
            "projector": trained.projector,
            "images": min(config.samples, len(splits.pretrain)),
            "images_random_init": min(config.samples, RANDOM_SAMPLES, len(splits.pretrain)),
            "random_init": RANDOM_INIT if config.random_init else None,
            **config.model_dump(include={"batch_size", "views", "seed"}),
            "checkpoint": str(path),
            "match": str(trained.report),
            "network": trained.report.network,
            "unmatched": list(trained.report.kept),
            "encoder": checkpoint.encoder_name,
            "image_size": checkpoint.view_size,
            "data": checkpoint.source,
            "probe": _scores(probed),
            "step": step,
            "environment": describe_environment(device),
        }
        write_json(output, record)
        picture = output.with_suffix(".png")
        with warned(picture.name):
            draw_diagnosis(found, random_init, f"{path}: {found.verdict}", picture)
        print_diagnosis(found, random_init)
        show([evaluation_table(probed)] if probed else [])
        say(f"written to {output} and {picture}", stderr=False)
        return Result(record, output, {"picture": picture})


def _record_name(checkpoint: Path) -> str:
    last = checkpoint.name == "last.pt"
    return "diagnosis.json" if last else f"{checkpoint.name}_diagnosis.json"


def _probed(
    config: DiagnoseSettings,
    checkpoint: Checkpoint,
    splits: Splits,
    trained: Network,
    untrained: Network | None,
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
    probe, size = Probe(seed=config.seed), config.batch_size
    evaluate = partial(evaluate_encoder, batch_size=size, device=device, progress=True)
    return evaluate_with_baselines(
        partial(evaluate, images=images, probe=probe),
        trained.encoder,
        untrained.encoder if untrained else None,
    )


def _scores(probed: Mapping[str, ProbeResult]) -> dict[str, float | None] | None:
    return {**compared_scores(probed), "labels": probed["trained"].labels} if probed else None


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
    options = config.model_dump(include={"samples", "views", "batch_size", "seed"})
    if random:
        options["samples"] = min(config.samples, RANDOM_SAMPLES)
    batches = draw_views(images, make_views, device=device, description=description, **options)
    with naming("batch_size"), batch_statistics_at_evaluation(parts) if random else nullcontext():
        outputs = collect_outputs(network, batches)
    if not Terminal().is_terminal:  # a terminal shows a bar
        count = outputs.features.shape[1]
        say(f"{description}: {config.views} views of {count} images, {len(outputs.layers)} layers")
    return outputs
