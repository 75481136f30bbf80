"""A classifier under population, exact and batch statistics: the rows of evaluations.csv."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from ssl_norm.config import FinetuneConfig
from ssl_norm.data.batches.sampler import epoch_order
from ssl_norm.data.corruption.spec import Corruption, parse_corruption
from ssl_norm.data.dataset import ImageSet
from ssl_norm.evaluate.classifier.inputs import keeps_statistics, training_domains
from ssl_norm.evaluate.classifier.rows import Scorer
from ssl_norm.train.builder import naming
from ssl_norm.train.finetune_builder import TrainingImages
from ssl_norm.train.population import MakeViews
from ssl_norm.train.run_folder import Row


def score_classifier(
    config: FinetuneConfig,
    model: nn.Module,
    images: TrainingImages,
    *,
    make_views: MakeViews,
    step: int,
    final: bool,
    device: torch.device,
) -> list[Row]:
    """Return the rows of evaluations.csv that a classifier earns at one step.

    The columns, `EVALUATION_COLUMNS`:

    - `split`: `test`, seen as in evaluation; `train`, the labelled images, seen in training views.
    - `domain`: `clean`, or the corruption of the scored images, as `contrast:5`.
    - `statistics`: `population`, the running ones; `exact`, recomputed; `batch`, of random batches.
    - `statistics_from`: what exact ones are of, in training views: `all` training images; the `labelled` ones;
      the `mixture` of all domains; the row's own `domain`. Empty for the others.
    - `samples`: the views that exact statistics are of, as asked for, in whole batches; else 0.
    - `batch_size`: of exact statistics, the batches that they were gathered in (at most: batches are alike, and
      no larger than their images are many); of batch statistics, the evaluated ones. Ghost batches inside them
      are those of the norm. 0 for population statistics, to which it means nothing.

    While training, the test images under each of `evaluation.statistics`. At the end also exact statistics at
    every pair of `samples` and `batch_sizes`, those of the labelled images where these are not all, the training
    images if `evaluation.train`, and `evaluation.corruptions` of the test images: with the model's statistics,
    with those re-estimated on `adapt_samples` corrupted training images, and with the batch's. Training images
    are seen in training views under both kinds of statistics, as in the training curve of Wu & Johnson (arXiv
    2105.07576, figure 5), so that the two differ in nothing but the statistics.

    With several `domains`, the test images of each, by a `domain` norm's statistics of it. Exact statistics of the
    mixture are then pooled over a `domain` norm's domains. So the six rows of the paper's table 5 are:

        1 bn, population                        2 bn, exact from domain
        3 domain, exact from mixture            4 domain, population, or exact from domain
        5 and 6: as 3 and 4 with affine_per_domain

    Without batch norms, or where all of them are frozen, there is nothing but population rows.

    Args:
        config: of the run.
        model: a classifier on `device`; a copy of it is scored.
        images: its limit of test images is applied here.
        make_views: from uint8 images (N, 3, H, W) and a generator to (views,), as in training.
        step: for the column.
        final: whether training is over.
        device: of the model.

    Raises:
        UserError: statistics cannot be taken as the configuration asks.
    """
    scorer = Scorer(config, copy.deepcopy(model), make_views, step, device)
    scores = _Scores(config, images, scorer)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), naming("evaluation"):
        rows = scores.of_test_images(final)
        if final:
            rows += scores.of_training_images() if config.evaluation.train else []
            rows += scores.of_corruptions()
    return rows


@dataclass(frozen=True)
class _Scores:
    """Which rows there are, of which images."""

    config: FinetuneConfig
    images: TrainingImages
    scorer: Scorer

    @property
    def domains(self) -> list[Corruption | None]:
        return training_domains(self.config)

    @property
    def statistics(self) -> list[str]:
        asked: list[str] = list(self.config.evaluation.statistics)
        return asked if keeps_statistics(self.scorer.model) else ["population"]

    def of_test_images(self, final: bool) -> list[Row]:
        """Return the rows of the test images of every domain."""
        scoring, domains = self.config.evaluation, self.domains
        tests = [self.scorer.scored_images(self.images.test, corruption) for corruption in domains]
        rows: list[Row] = []
        for number, (domain, test) in enumerate(zip(domains, tests, strict=True)):
            with self.scorer.in_domain(number):
                rows += self.scorer.own_rows(domain, test, self.statistics)
                if "exact" in self.statistics and len(domains) > 1:
                    first = scoring.samples[0], scoring.batch_sizes[0]
                    rows.append(
                        self.scorer.adapted_row(domain, test, self.images.everything, *first)
                    )
        return rows + (self.exact_rows(tests, final) if "exact" in self.statistics else [])

    def exact_rows(self, tests: Sequence[ImageSet], final: bool) -> list[Row]:
        """Return the rows of the test images of every domain under the same exact statistics."""
        domains, rows = self.domains, []
        for origin, source, samples, size in self.exact_settings(final):
            pooled = self.scorer.pooled() if origin == "mixture" else nullcontext()
            with self.scorer.exact(source, domains, samples, size), pooled:
                for number, (domain, test) in enumerate(zip(domains, tests, strict=True)):
                    with self.scorer.in_domain(number):
                        rows.append(self.scorer.row(domain, test, "exact", origin, samples, size))
        return rows

    def exact_settings(self, final: bool) -> Iterator[tuple[str, ImageSet, int, int]]:
        """Yield where exact statistics are from, by name and as images, how many and in which batches."""
        scoring = self.config.evaluation
        everything, labelled = self.images.everything, self.images.labelled
        name = "mixture" if len(self.domains) > 1 else "all"
        for samples in scoring.samples if final else scoring.samples[:1]:
            for size in scoring.batch_sizes if final else scoring.batch_sizes[:1]:
                yield name, everything, samples, size
        if final and len(labelled) < len(everything):
            yield "labelled", labelled, scoring.samples[0], scoring.batch_sizes[0]

    def of_training_images(self) -> list[Row]:
        """Return the rows of the labelled images in training views, of every domain."""
        kinds = [kind for kind in ("population", "batch") if kind in self.statistics]
        images = self.scorer.scored_images(self.images.labelled)
        rows = []
        for number, domain in enumerate(self.domains):
            with self.scorer.in_domain(number):
                rows += self.scorer.own_rows(domain, images, kinds, split="train")
        return rows

    def of_corruptions(self) -> list[Row]:
        """Return the rows of corrupted test images, which a `domain` norm takes for its domain 0."""
        scoring, everything = self.config.evaluation, self.images.everything
        kinds = ["population", "batch"] if keeps_statistics(self.scorer.model) else ["population"]
        sizes = sorted({min(count, len(everything)) for count in scoring.adapt_samples})
        order = epoch_order(len(everything), self.config.seed, 0)
        rows = []
        for corruption in map(parse_corruption, scoring.corruptions):
            test = self.scorer.scored_images(self.images.test, corruption)
            with self.scorer.in_domain(0):
                rows += self.scorer.own_rows(corruption, test, kinds)
                for count in sizes if "batch" in kinds else ():
                    seen = everything.subset(order[:count])
                    batch = scoring.batch_sizes[0]
                    rows.append(self.scorer.adapted_row(corruption, test, seen, count, batch))
        return rows
