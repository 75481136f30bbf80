"""Scores of a classifier under population, exact and batch statistics: rows of evaluations.csv."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssl_norm.data.batches.sampler import epoch_order
from ssl_norm.data.corruption.dataset import corrupted
from ssl_norm.data.corruption.spec import Corruption
from ssl_norm.data.dataset import ImageSet
from ssl_norm.evaluate.classifier.accuracy import score
from ssl_norm.evaluate.classifier.inputs import (
    Scoring,
    corrupting,
    domain_name,
    even_size,
    keeps_statistics,
)
from ssl_norm.norms.batch.evaluation_statistics import (
    batch_statistics_at_evaluation,
    domain_layers,
    kept_statistics,
    pooled_over_domains,
    population_statistics_at_evaluation,
)
from ssl_norm.norms.layers.domain_batch_norm import DomainBatchNorm, domain_labels
from ssl_norm.train.builder import naming
from ssl_norm.train.population import recompute_over_images
from ssl_norm.train.run_folder import Row

EVALUATION_COLUMNS = (
    "step", "split", "domain", "statistics", "statistics_from", "samples", "batch_size", "images",
    "top1", "loss",
)  # fmt: skip


def score_classifier(scoring: Scoring, model: nn.Module, step: int, *, final: bool) -> list[Row]:
    """Return the rows of evaluations.csv for a classifier at one step.

    The columns, `EVALUATION_COLUMNS`:

    - `split`: `test`: test images in evaluation views; `train`: labelled images in training views.
    - `domain`: `clean`, or the corruption of the scored images, as `contrast:5`.
    - `statistics`: `population`: running statistics; `exact`: recomputed; `batch`: those of random
      batches.
    - `statistics_from`: images of exact statistics, in training views: `all` training images,
      `labelled` images, the `mixture` of all domains, or only the `domain` of the row. Otherwise
      empty.
    - `samples`: requested number of views of exact statistics, rounded down to whole batches.
      Otherwise 0.
    - `batch_size`: for exact statistics, the largest batch of the recomputation; for batch
      statistics, the size of evaluation batches, in which the norm may form ghost batches. 0 for
      population statistics.

    During training, the test images are scored under each of `statistics`. At the end there are
    more rows: for exact statistics with every pair of `samples` and `batch_sizes`; for exact
    statistics of the labelled images, if there are unlabelled ones; for the training images, if
    `train`; and for the test images under each of `corruptions`, with population statistics,
    statistics re-estimated on `adapt_samples` corrupted training images, and batch statistics.
    Training images are scored in training views under population and batch statistics, as in the
    training curve of Wu & Johnson (arXiv 2105.07576, figure 5).

    With several `domains`, the test images of each domain are scored; a `domain` norm uses the
    statistics of that domain. Exact statistics of the mixture are pooled over the domains of a
    `domain` norm. The six rows of the paper's table 5 are then:

        1 bn, population                        2 bn, exact from domain
        3 domain, exact from mixture            4 domain, population, or exact from domain
        5 and 6: as 3 and 4 with affine_per_domain

    Without batch norms, or if all of them are frozen, there are only population rows.

    Args:
        scoring: images and options.
        model: a classifier on its device; a copy of it is scored.
        step: value of the column `step`.
        final: whether training is over.

    Raises:
        UserError: the statistics cannot be computed.
    """
    scorer = _Scorer(scoring, copy.deepcopy(model), step)
    devices = [scoring.device] if scoring.device.type == "cuda" else []
    with torch.random.fork_rng(devices), naming("evaluation"):
        rows = scorer.of_test_images(final)
        if final:
            rows += scorer.of_training_images() if scoring.train else []
            rows += scorer.of_corruptions()
    return rows


@dataclass(frozen=True)
class _Scorer:
    """Rows for each kind of images; no method changes the model."""

    scoring: Scoring
    model: nn.Module
    step: int

    @property
    def statistics(self) -> Sequence[str]:
        return self.scoring.statistics if keeps_statistics(self.model) else ["population"]

    def of_test_images(self, final: bool) -> list[Row]:
        """Return the rows of the test images of every domain."""
        scoring, domains = self.scoring, self.scoring.domains
        tests = [self.scored_images(scoring.images.test, corruption) for corruption in domains]
        first = scoring.samples[0], scoring.batch_sizes[0]
        rows: list[Row] = []
        for number, (domain, test) in enumerate(zip(domains, tests, strict=True)):
            with self.in_domain(number):
                rows += self.own_rows(domain, test, self.statistics)
                if "exact" in self.statistics and len(domains) > 1:
                    rows.append(self.adapted_row(domain, test, scoring.images.everything, *first))
        return rows + (self.exact_rows(tests, final) if "exact" in self.statistics else [])

    def exact_rows(self, tests: Sequence[ImageSet], final: bool) -> list[Row]:
        """Return the rows of the test images of every domain under exact statistics."""
        domains, rows = self.scoring.domains, []
        for origin, source, samples, size in self.exact_settings(final):
            is_pooled = origin == "mixture" and domain_layers(self.model)
            pooled = pooled_over_domains(self.model) if is_pooled else nullcontext()
            with self.exact(source, domains, samples, size), pooled:
                for number, (domain, test) in enumerate(zip(domains, tests, strict=True)):
                    with self.in_domain(number):
                        rows.append(self.row(domain, test, "exact", origin, samples, size))
        return rows

    def exact_settings(self, final: bool) -> Iterator[tuple[str, ImageSet, int, int]]:
        """Yield name, images, number of images and batch size for all exact statistics."""
        scoring = self.scoring
        everything, labelled = scoring.images.everything, scoring.images.labelled
        name = "mixture" if len(scoring.domains) > 1 else "all"
        for samples in scoring.samples if final else scoring.samples[:1]:
            for size in scoring.batch_sizes if final else scoring.batch_sizes[:1]:
                yield name, everything, samples, size
        if final and len(labelled) < len(everything):
            yield "labelled", labelled, scoring.samples[0], scoring.batch_sizes[0]

    def of_training_images(self) -> list[Row]:
        """Return the rows of the labelled images in training views, of every domain."""
        images = self.scored_images(self.scoring.images.labelled)
        rows = []
        for number, domain in enumerate(self.scoring.domains):
            with self.in_domain(number):
                rows += self.own_rows(domain, images, self.statistics, split="train")
        return rows

    def of_corruptions(self) -> list[Row]:
        """Return the rows of corrupted test images; a `domain` norm treats them as domain 0."""
        scoring, everything = self.scoring, self.scoring.images.everything
        kinds = ["population", "batch"] if keeps_statistics(self.model) else ["population"]
        sizes = sorted({min(count, len(everything)) for count in scoring.adapt_samples})
        order = epoch_order(len(everything), scoring.seed, 0)
        rows = []
        for corruption in scoring.corruptions:
            test = self.scored_images(scoring.images.test, corruption)
            with self.in_domain(0):
                rows += self.own_rows(corruption, test, kinds)
                for count in sizes if "batch" in kinds else ():
                    seen, batch = everything.subset(order[:count]), scoring.batch_sizes[0]
                    rows.append(self.adapted_row(corruption, test, seen, count, batch))
        return rows

    def own_rows(
        self,
        domain: Corruption | None,
        images: ImageSet,
        kinds: Sequence[str],
        split: str = "test",
    ) -> list[Row]:
        """Return the rows under population and batch statistics."""
        rows = []
        if "population" in kinds:
            with population_statistics_at_evaluation(self.model):
                rows.append(self.row(domain, images, "population", split=split))
        if "batch" in kinds:
            size = self.scoring.batch_size
            with batch_statistics_at_evaluation(self.model):
                rows.append(self.row(domain, images, "batch", batch_size=size, split=split))
        return rows

    def adapted_row(
        self,
        domain: Corruption | None,
        images: ImageSet,
        source: ImageSet,
        samples: int,
        batch_size: int,
    ) -> Row:
        """Return the row under statistics re-estimated on training images of the same domain."""
        with self.exact(source, [domain], samples, batch_size):
            return self.row(domain, images, "exact", "domain", samples, batch_size)

    def row(
        self,
        domain: Corruption | None,
        images: ImageSet,
        statistics: str,
        statistics_from: str = "",
        samples: int = 0,
        batch_size: int = 0,
        split: str = "test",
    ) -> Row:
        """Score the model under its present statistics, and return the row."""
        scoring, generator = self.scoring, torch.Generator().manual_seed(self.scoring.seed)
        views = corrupting(scoring.make_views, [domain])

        def training_input(pixels: Tensor) -> Tensor:
            return views(pixels.permute(0, 3, 1, 2), generator)[0]

        found = score(
            self.model,
            images,
            training_input if split == "train" else scoring.to_input,
            batch_size=scoring.batch_size,
            device=scoring.device,
            seed=scoring.seed,
        )
        place = (self.step, split, domain_name(domain))
        kind = (statistics, statistics_from, samples, batch_size)
        values = (*place, *kind, found.images, found.top1, found.loss)
        return dict(zip(EVALUATION_COLUMNS, values, strict=True))

    def scored_images(self, images: ImageSet, corruption: Corruption | None = None) -> ImageSet:
        """Return at most `limit` of the images, corrupted."""
        return corrupted(self.scoring.limited(images), corruption, self.scoring.seed)

    def in_domain(self, number: int) -> AbstractContextManager[None]:
        """Set the domain of all images for `domain` norms inside the context."""
        if any(isinstance(layer, DomainBatchNorm) for layer in self.model.modules()):
            return domain_labels(self.model, number)
        return nullcontext()

    @contextmanager
    def exact(
        self,
        images: ImageSet,
        domains: Sequence[Corruption | None],
        samples: int,
        batch_size: int,
    ) -> Iterator[None]:
        """Recompute the statistics on training views with equal parts of these domains."""
        with kept_statistics(self.model), population_statistics_at_evaluation(self.model):
            recompute_over_images(
                self.model,
                corrupting(self.scoring.make_views, domains),
                images,
                samples=samples,
                batch_size=even_size(samples, batch_size, len(images), len(domains)),
                seed=self.scoring.seed,
            )
            yield
