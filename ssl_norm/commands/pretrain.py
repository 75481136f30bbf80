"""Pretraining: tools/pretrain.py."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn

from ssl_norm.console import warned
from ssl_norm.data.dataset import Splits
from ssl_norm.errors import CollapseStop, NonFiniteLoss
from ssl_norm.evaluate.baselines import evaluate_with_baselines
from ssl_norm.evaluate.features import evaluation_view, extract_features
from ssl_norm.evaluate.protocol import Probe, ProbeImages, evaluate_encoder
from ssl_norm.figures import cosine_figure, save_figure
from ssl_norm.settings.pretrain import PretrainSettings
from ssl_norm.train.banner import pretraining_banner
from ssl_norm.train.builder import initial_encoder, load_images
from ssl_norm.train.device import pick_device
from ssl_norm.train.engine import Ending, RunResult, Save, Task, carry_out
from ssl_norm.train.loop import train
from ssl_norm.train.population import make_statistics_exact
from ssl_norm.train.pretrain_builder import draw_views, make_training
from ssl_norm.train.pretraining import PretrainingRun, measure_initial
from ssl_norm.train.progress import ProgressLine
from ssl_norm.train.recorder import Recorder, RunFiles, roll_back, verdict_of
from ssl_norm.train.run_folder import RunFolder
from ssl_norm.train.run_settings import norm_names
from ssl_norm.train.summary import pretraining_table

# Images for population=exact; more have no effect (Wu & Johnson, arXiv 2105.07576).
EXACT_SAMPLES = 10_000


def pretrain(config: PretrainSettings, *, folder: Path | None = None) -> RunResult:
    """Pretrain in a run folder, and print a short table.

    The folder counts if `run_dir` is None, and is by default runs/<date>_<method>_<norms>.

    Raises:
        UserError: the settings do not fit the data or the machine.
        CollapseStop: the embeddings collapsed with `monitor.on_collapse=stop` or `rollback`.
        NonFiniteLoss: the loss became NaN or infinite.
    """
    return carry_out(_Pretraining(config, pick_device(config.device)), folder=folder)


class _Pretraining(Task):
    """Training of a learner on unlabelled images, with monitors and a linear probe at the end."""

    run: PretrainingRun
    less_memory = "lower it and raise accumulate instead, or use precision=bfloat16"
    final_metrics = (
        "effective_rank", "feature_std", "knn_top1", "linear_top1", "negative_cosine",
        "positive_cosine",
    )  # fmt: skip

    def build(self, checkpoint: Mapping[str, Any] | None) -> Splits:
        self.splits = load_images(self.config.data, self.config.seed)
        encoder, self.replaced = initial_encoder(self.config)
        images, self.is_resumed = self.splits.pretrain, checkpoint is not None
        self.run = make_training(self.config, encoder, images, self.device, checkpoint)
        return self.splits

    def banner(self, folder: RunFolder) -> Iterator[str]:
        images, replaced = self.splits.pretrain, self.replaced
        return pretraining_banner(self.config, self.run, images, replaced, folder, self.device)

    def tables(self) -> dict[str, int]:
        last = self.run.first_step
        if not self.run.steps:  # train=false: keep the rows of all batches, or none
            last = self.run.steps_per_epoch if self.is_resumed else -1
        return dict.fromkeys(("metrics.csv", "spectra.csv", "layers.csv"), last)

    def train(self, files: RunFiles | None, line: ProgressLine, save: Save) -> None:
        on_collapse = self.config.monitor.on_collapse
        recorder = Recorder(files, self.run.monitor, line, on_collapse)
        images, learner = self.splits.pretrain, self.run.network
        if files:
            with warned("views.png"):
                files.views(draw_views(self.config, images))
        try:
            if self.stop:
                raise self.stop
            if self.run.steps:
                train(self.run, recorder.row, save)
            elif not self.is_resumed:
                measure_initial(self.run, recorder.row, save)
        except CollapseStop as stop:
            if not self.stop:
                save(recorder.last_step, stop)
            if files and on_collapse == "rollback":
                raise roll_back(files.folder, stop, learner) from None
            raise
        size, seed = self.config.batch_size, self.config.seed
        if make_statistics_exact(
            learner, self.run.make_views, images, samples=EXACT_SAMPLES, batch_size=size, seed=seed
        ):
            save(self.run.steps)

    def copies(self, step: int) -> Iterator[str]:
        monitor, every = self.run.monitor, self.config.keep_every
        is_healthy = monitor.verdict == "healthy" and monitor.is_settled
        if self.config.monitor.on_collapse == "rollback" and is_healthy:
            yield "healthy.pt"
        if every and step % (every * self.run.steps_per_epoch) == 0:
            yield f"step_{step}.pt"

    def summary(
        self, course: Mapping[str, Any], files: RunFiles, ending: Ending | None
    ) -> dict[str, Any]:
        encoder = self.run.network.encoder
        summary = {"method": self.config.method.name, **course, **verdict_of(self.run.monitor)}
        if isinstance(ending, NonFiniteLoss):
            return summary
        if self.config.linear_probe:
            summary |= linear_probe(self.config, encoder, self.splits, self.device)
        if self.config.monitor.embeddings:
            with warned("monitor.embeddings"):
                files.embeddings(*embeddings(self.config, encoder, self.splits, self.device))
        return summary

    def draw(self, files: RunFiles, summary: Mapping[str, Any]) -> None:
        if rows := files.rows("metrics.csv"):
            heads = "/".join(list(norm_names(self.config).values())[1:])
            began = summary["collapsed_at_step"]
            since = "" if began is None else f" since step {began}"
            title = f"{summary['method']}, heads {heads}: {summary['verdict']}{since}"
            save_figure(cosine_figure(title, rows, began), files.folder / "collapse.png")

    def table(self, summary: Mapping[str, Any]) -> Table:
        return pretraining_table(summary)


def linear_probe(
    config: PretrainSettings, encoder: nn.Module, splits: Splits, device: torch.device
) -> dict[str, float]:
    """Return linear and kNN top-1 of the encoder and of its baselines, and chance.

    Without labels the result is empty.
    """
    if splits.train is None or splits.test is None:
        return {}
    evaluate = partial(
        evaluate_encoder,
        images=ProbeImages(splits.train, splits.test, _to_input(config)),
        probe=Probe(labels=config.probe_labels, seed=config.seed),
        device=device,
        progress=True,
    )
    found = evaluate_with_baselines(evaluate, encoder, initial_encoder(config)[0])
    ends = {name: f"_{name}" * (name != "trained") for name in found}
    return {
        **{f"linear_top1{ends[name]}": one.top1 for name, one in found.items()},
        **{f"knn_top1{ends[name]}": one.knn_top1 for name, one in found.items()},
        "chance": found["trained"].chance,
        "probe_labels": config.probe_labels,
    }


def embeddings(
    config: PretrainSettings, encoder: nn.Module, splits: Splits, device: torch.device
) -> tuple[Tensor, list[str] | None, Tensor]:
    """Return features (N, F) and class names of the first images, and the images (N, 3, H, W)."""
    images = splits.test or splits.pretrain
    images = images.subset(torch.arange(min(len(images), config.monitor.embeddings)))
    features = extract_features(encoder, images, _to_input(config), device=device)
    names = None
    if images.labels is not None:
        known = dict(enumerate(images.classes))
        names = [known.get(label, str(label)) for label in images.labels.tolist()]
    return features, names, images.images.permute(0, 3, 1, 2)


def _to_input(config: PretrainSettings) -> "partial[Tensor]":
    size, augment = config.data.view_size, config.augment
    return partial(evaluation_view, image_size=size, mean=augment.mean, std=augment.std)
