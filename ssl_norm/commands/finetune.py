"""Fine-tuning: tools/finetune.py."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import nn

from ssl_norm.data.corruption.spec import parse_corruption
from ssl_norm.data.dataset import Splits
from ssl_norm.evaluate.accuracy import majority_frequency
from ssl_norm.evaluate.checkpoint import Checkpoint
from ssl_norm.evaluate.classifier import (
    Scoring,
    corrupting,
    domain_name,
    even_size,
    keeps_statistics,
    score_classifier,
    training_domains,
    uncertainty_summary,
)
from ssl_norm.evaluate.features import evaluation_view
from ssl_norm.figures import save_figure
from ssl_norm.figures.accuracy import accuracies, accuracy_figure
from ssl_norm.models.encoders import SMALL_IMAGE_SIDE
from ssl_norm.norms import NormSpec
from ssl_norm.options import replace
from ssl_norm.settings.finetune import FinetuneSettings
from ssl_norm.settings.sections import EncoderOverride, EncoderSettings
from ssl_norm.train.banner import finetuning_banner
from ssl_norm.train.builder import load_images, make_encoder
from ssl_norm.train.device import pick_device
from ssl_norm.train.engine import Ending, RunResult, Save, Task, carry_out
from ssl_norm.train.finetune_builder import TrainingImages, choose_images, make_finetuning
from ssl_norm.train.finetuning import FinetuningRun
from ssl_norm.train.loop import train
from ssl_norm.train.population import MakeViews, make_statistics_exact
from ssl_norm.train.progress import ProgressLine
from ssl_norm.train.recorder import RunFiles
from ssl_norm.train.run_folder import Row, RunFolder
from ssl_norm.train.summary import AUROCS, SCORES, final_scores, finetuning_table


def finetune(config: FinetuneSettings, *, folder: Path | None = None) -> RunResult:
    """Train a classifier in a run folder, and print a short table.

    The folder counts if `run_dir` is None, and is by default runs/<date>_finetune_<norm>_<n>labels.

    Raises:
        UserError: the settings do not fit the data, the checkpoint or the machine.
        NonFiniteLoss: the loss became NaN or infinite.
    """
    device = pick_device(config.device)
    config, encoder = find_start(config)
    return carry_out(_Finetuning(config, encoder, device), folder=folder)


def find_start(config: FinetuneSettings) -> tuple[FinetuneSettings, nn.Module]:
    """Return the settings, completed by those of the checkpoint, and the initial encoder.

    Raises:
        UserError: the checkpoint cannot be read, does not fit, or does not name its encoder.
    """
    pixels: tuple[Sequence[float], ...]
    if config.checkpoint is None:
        name, norm = config.encoder.name or EncoderSettings().name, config.norm.encoder
        norm, stem = norm or NormSpec("bn"), config.encoder.small_images
        encoder, _ = make_encoder(name, stem, norm, config.data.view_size, config.seed)
        data, pixels = config.data, config.augment.normalization
    else:
        names = ("name", "root", "image_size", "cache_size")
        given = {name: getattr(config.data, name) for name in names}
        checkpoint = Checkpoint.read(config.checkpoint, {**config.model_dump(), "data": given})
        encoder, _ = checkpoint.encoder(new_norms=True)
        name, norm, stem = checkpoint.encoder_name, checkpoint.norm_spec, checkpoint.stem
        size, pixels = checkpoint.view_size, (checkpoint.mean, checkpoint.std)
        trained_small = checkpoint.trained_size <= SMALL_IMAGE_SIDE
        if stem is None and (size <= SMALL_IMAGE_SIDE) != trained_small:
            stem = trained_small  # that of the checkpoint, even if the images suggest the other
        cache_size = checkpoint.data.get("cache_size")
        data = replace(config.data, image_size=size, cache_size=cache_size)
    changes: dict[str, Any] = dict(zip(("mean", "std"), pixels, strict=True))
    return replace(
        config,
        data=data,
        encoder=EncoderOverride(name=name, small_images=stem),
        norm=replace(config.norm, encoder=norm),
        augment=replace(config.augment, **changes),
    ), encoder


def scoring_of(
    config: FinetuneSettings, images: TrainingImages, make_views: MakeViews, device: torch.device
) -> Scoring:
    """Return the options of a classifier's scores from the settings."""
    options = config.evaluation.model_dump(exclude={"every", "uncertainty"})
    mean, std = config.augment.normalization
    return Scoring(
        images,
        make_views,
        partial(evaluation_view, image_size=config.data.view_size, mean=mean, std=std),
        training_domains(config.domains),
        config.seed,
        device,
        **options | {"corruptions": [parse_corruption(each) for each in options["corruptions"]]},
    )


class _Finetuning(Task):
    """Training of a classifier on few labels, with scores under each kind of statistics."""

    run: FinetuningRun
    less_memory = "lower it, and ubn.ratio of ubn, or use precision=bfloat16"
    final_metrics = ("loss", "train_top1", *SCORES, *AUROCS)

    def __init__(self, config: FinetuneSettings, encoder: nn.Module, device: torch.device) -> None:
        super().__init__(config, device)
        self.encoder = encoder
        self.domains = training_domains(config.domains)

    def build(self, checkpoint: Mapping[str, Any] | None) -> Splits:
        splits = load_images(self.config.data, self.config.seed)
        self.images = choose_images(self.config, splits)
        self.run = make_finetuning(self.config, self.encoder, self.images, self.device, checkpoint)
        self.scoring = scoring_of(self.config, self.images, self.run.make_views, self.device)
        return splits

    def banner(self, folder: RunFolder) -> Iterator[str]:
        return finetuning_banner(self.config, self.run, self.images, folder, self.device)

    def tables(self) -> dict[str, int]:
        first = self.run.first_step
        is_over = first == self.run.steps  # the final scores replace the last ones
        return {"metrics.csv": first, "evaluations.csv": first - is_over}

    def train(self, files: RunFiles | None, line: ProgressLine, save: Save) -> None:
        assert files is not None

        def record(row: Row) -> None:
            line.show(row)
            files.row(row)

        train(self.run, record, save, lambda step: self._score(files, step))
        if self._make_exact():
            save(self.run.steps)
        self._score(files, self.run.steps, final=True)

    def _make_exact(self) -> bool:
        scoring, images, run = self.config.evaluation, self.images.everything, self.run
        samples, size = scoring.samples[0], scoring.batch_sizes[0]
        return make_statistics_exact(
            run.network,
            corrupting(run.make_views, self.domains),
            images,
            samples=samples,
            batch_size=even_size(samples, size, len(images), len(self.domains)),
            seed=self.config.seed,
        )

    def _score(self, files: RunFiles, step: int, final: bool = False) -> None:
        rows = score_classifier(self.scoring, self.run.network, step, final=final)
        files.scores(rows, {name: points[step] for name, points in accuracies(rows).items()})

    def summary(
        self, course: Mapping[str, Any], files: RunFiles, ending: Ending | None
    ) -> dict[str, Any]:
        images, draws = self.images, self.config.evaluation.uncertainty
        assert images.test.labels is not None
        chance, count = majority_frequency(images.test.labels), len(images.labelled)
        summary = {"tool": "finetune", **course, "labels": count, "chance": chance}
        if ending is not None:
            return summary
        last = [row for row in files.rows("evaluations.csv") if row["step"] == self.run.steps]
        summary |= final_scores(list(map(domain_name, self.domains)), last)
        if draws:
            summary |= uncertainty_summary(self.scoring, self.run.network, draws)
        return summary

    def draw(self, files: RunFiles, summary: Mapping[str, Any]) -> None:
        rows = files.rows("evaluations.csv")
        if any(len(points) > 1 for points in accuracies(rows).values()):
            save_figure(accuracy_figure(rows), files.folder / "accuracy.png")

    def table(self, summary: Mapping[str, Any]) -> Table:
        spec = self.config.norm.encoder
        return finetuning_table(
            summary,
            self.config.evaluation.samples[0] if keeps_statistics(self.run.network) else None,
            by_batch=spec is not None and spec.options.get("evaluation") == "batch",
        )
