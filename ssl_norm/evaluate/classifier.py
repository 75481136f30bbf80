"""Scores of a classifier under population, exact and batch statistics: rows of evaluations.csv."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ssl_norm.data.batches.image_batches import Batches
from ssl_norm.data.batches.sampler import epoch_order
from ssl_norm.data.corruption.dataset import corrupt_chunks, corrupted
from ssl_norm.data.corruption.spec import Corruption, parse_corruption
from ssl_norm.data.dataset import ImageSet
from ssl_norm.errors import UserError
from ssl_norm.evaluate.accuracy import score
from ssl_norm.evaluate.uncertainty import auroc, probabilities, uncertainty
from ssl_norm.norms.batch.evaluation_statistics import (
    batch_statistics_at_evaluation,
    domain_layers,
    kept_statistics,
    pooled_over_domains,
    population_statistics_at_evaluation,
)
from ssl_norm.norms.batch.precise_bn import recomputable
from ssl_norm.norms.layers.domain_batch_norm import DomainBatchNorm, domain_labels
from ssl_norm.train.builder import naming
from ssl_norm.train.finetune_builder import TrainingImages
from ssl_norm.train.population import MakeViews, recompute_over_images
from ssl_norm.train.run_folder import Row

EVALUATION_COLUMNS = (
    "step", "split", "domain", "statistics", "statistics_from", "samples", "batch_size", "images",
    "top1", "loss",
)  # fmt: skip
_Domain = Corruption | None  # None: clean


@dataclass(frozen=True)
class Scoring:
    """Images of a fine-tuning, and options of the scores of its classifier."""

    images: TrainingImages
    make_views: MakeViews  # from uint8 images (N, 3, H, W) and a generator to training views
    to_input: Callable[[Tensor], Tensor]  # from uint8 pixels (B, H, W, 3) to evaluation inputs
    domains: Sequence[_Domain]  # corruptions of the training images
    seed: int  # seed of subsets, corruptions, orders and views
    device: torch.device  # device of the classifier
    statistics: Sequence[str] = ("population", "exact", "batch")  # used for the test images
    limit: int | None = None  # size of a seeded subset of the test images; None: all
    batch_size: int = 256  # images of an evaluation batch
    samples: Sequence[int] = (10_000,)  # images of exact statistics; during training the first
    batch_sizes: Sequence[int] = (256,)  # batches of exact statistics; during training the first
    train: bool = False  # whether to score the labelled images in training views at the end
    corruptions: Sequence[_Domain] = ()  # corruptions of the test images at the end
    adapt_samples: Sequence[int] = (10, 100, 1000)  # corrupted images for re-estimated statistics

    def limited(self, images: ImageSet) -> ImageSet:
        """Return a seeded subset of at most `limit` images, in their order."""
        if self.limit is None or self.limit >= len(images):
            return images
        order = epoch_order(len(images), self.seed, 0)
        return images.subset(order[: self.limit].sort().values)


def training_domains(settings: Iterable[Any]) -> list[_Domain]:
    """Return the domains in the settings, or [None] (clean images) if there are none."""
    return [parse_corruption(domain) for domain in settings] or [None]


def domain_name(corruption: _Domain) -> str:
    """Return the name of a domain in tables."""
    return "clean" if corruption is None else str(corruption)


def corrupting(make_views: MakeViews, corruptions: Sequence[_Domain]) -> MakeViews:
    """Return a `make_views` that first corrupts equal chunks of a batch, in this order.

    The returned function raises UserError if a batch does not divide into equal chunks.
    """

    def views(images: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        return make_views(corrupt_chunks(images, corruptions, generator), generator)

    return views


def even_size(samples: int, batch_size: int, available: int, chunks: int = 1) -> int:
    """Return the size up to `batch_size` whose whole batches omit the fewest of `samples`.

    It is a multiple of `chunks`, and no batch is larger than the `available` different images.

    Example:
        >>> even_size(10_000, 256, 50_000)
        250
    """
    size = min(samples, batch_size, available)
    size = samples // math.ceil(samples / size)
    return max(chunks, size - size % chunks)


def keeps_statistics(model: nn.Module) -> bool:
    """Return whether the model has batch norms whose statistics are not frozen."""
    try:
        return bool(recomputable(model)[0])
    except ValueError:
        return False


def score_classifier(scoring: Scoring, model: nn.Module, step: int, *, final: bool) -> list[Row]:
    """Return the rows of evaluations.csv for a copy of a classifier on its device at one step.

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

    During training, the test images are scored under each of `statistics`. At the end (`final`)
    there are more rows: for exact statistics with every pair of `samples` and `batch_sizes`; for
    exact statistics of the labelled images, if there are unlabelled ones; for the training images,
    if `train`; and for the test images under each of `corruptions`, with population statistics,
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

    Raises:
        UserError: the statistics cannot be computed.
    """
    scorer = _Scorer(scoring, copy.deepcopy(model), step)
    devices = [scoring.device] if scoring.device.type == "cuda" else []
    with torch.random.fork_rng(devices), naming("evaluation"):
        rows = [*scorer.of_test_images(final)]
        if final:
            rows += [*scorer.of_training_images()] if scoring.train else []
            rows += [*scorer.of_corruptions()]
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

    def of_test_images(self, final: bool) -> Iterator[Row]:
        """Yield the rows of the test images of every domain."""
        scoring, images = self.scoring, self.scoring.images
        tests = [self.scored_images(images.test, corruption) for corruption in scoring.domains]
        everything, labelled = images.everything, images.labelled
        first = scoring.samples[0], scoring.batch_sizes[0]
        for domain, test in self.in_domains(tests):
            yield from self.own_rows(domain, test, self.statistics)
            if "exact" in self.statistics and len(tests) > 1:
                yield self.adapted_row(domain, test, everything, *first)
        if "exact" not in self.statistics:
            return
        name = "mixture" if len(tests) > 1 else "all"
        for samples in scoring.samples if final else first[:1]:
            for size in scoring.batch_sizes if final else first[1:]:
                yield from self.exact_rows(tests, name, everything, samples, size)
        if final and len(labelled) < len(everything):
            yield from self.exact_rows(tests, "labelled", labelled, *first)

    def exact_rows(
        self, tests: Sequence[ImageSet], origin: str, source: ImageSet, samples: int, size: int
    ) -> Iterator[Row]:
        """Yield the rows of the test images of every domain under one kind of exact statistics."""
        is_pooled = origin == "mixture" and domain_layers(self.model)
        pooled = pooled_over_domains(self.model) if is_pooled else nullcontext()
        with self.exact(source, self.scoring.domains, samples, size), pooled:
            for domain, test in self.in_domains(tests):
                yield self.row(domain, test, "exact", origin, samples, size)

    def of_training_images(self) -> Iterator[Row]:
        """Yield the rows of the labelled images in training views, of every domain."""
        images = self.scored_images(self.scoring.images.labelled)
        for domain, same in self.in_domains([images] * len(self.scoring.domains)):
            yield from self.own_rows(domain, same, self.statistics, split="train")

    def of_corruptions(self) -> Iterator[Row]:
        """Yield the rows of corrupted test images; a `domain` norm treats them as domain 0."""
        scoring, everything = self.scoring, self.scoring.images.everything
        kinds = ["population", "batch"] if keeps_statistics(self.model) else ["population"]
        sizes = sorted({min(count, len(everything)) for count in scoring.adapt_samples})
        order = epoch_order(len(everything), scoring.seed, 0)
        for corruption in scoring.corruptions:
            test = self.scored_images(scoring.images.test, corruption)
            with self.in_domain(0):
                yield from self.own_rows(corruption, test, kinds)
                for count in sizes if "batch" in kinds else ():
                    seen, batch = everything.subset(order[:count]), scoring.batch_sizes[0]
                    yield self.adapted_row(corruption, test, seen, count, batch)

    def own_rows(
        self, domain: _Domain, images: ImageSet, kinds: Sequence[str], split: str = "test"
    ) -> Iterator[Row]:
        """Yield the rows under population and batch statistics."""
        if "population" in kinds:
            with population_statistics_at_evaluation(self.model):
                yield self.row(domain, images, "population", split=split)
        if "batch" in kinds:
            size = self.scoring.batch_size
            with batch_statistics_at_evaluation(self.model):
                yield self.row(domain, images, "batch", batch_size=size, split=split)

    def adapted_row(
        self, domain: _Domain, images: ImageSet, source: ImageSet, samples: int, batch_size: int
    ) -> Row:
        """Return the row under statistics re-estimated on training images of the same domain."""
        with self.exact(source, [domain], samples, batch_size):
            return self.row(domain, images, "exact", "domain", samples, batch_size)

    def row(
        self,
        domain: _Domain,
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

    def scored_images(self, images: ImageSet, corruption: _Domain = None) -> ImageSet:
        """Return at most `limit` of the images, corrupted."""
        return corrupted(self.scoring.limited(images), corruption, self.scoring.seed)

    def in_domains(self, images: Sequence[ImageSet]) -> Iterator[tuple[_Domain, ImageSet]]:
        """Yield each domain of the training images with its images, for `domain` norms as well."""
        for number, pair in enumerate(zip(self.scoring.domains, images, strict=True)):
            with self.in_domain(number):
                yield pair

    def in_domain(self, number: int) -> AbstractContextManager[None]:
        """Set the domain of all images for `domain` norms inside the context."""
        if any(isinstance(layer, DomainBatchNorm) for layer in self.model.modules()):
            return domain_labels(self.model, number)
        return nullcontext()

    @contextmanager
    def exact(
        self, images: ImageSet, domains: Sequence[_Domain], samples: int, batch_size: int
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


def uncertainty_summary(scoring: Scoring, model: nn.Module, draws: int) -> dict[str, float]:
    """Measure how well uncertainties separate wrong from right predictions of the test images.

    Each of at least two draws of statistics uses `batch_size` training images in training views.
    The test images, at most `limit`, are held in memory as inputs.

    Returns:
        Areas under the ROC curve; 0.5 is chance, NaN if all predictions are right or all wrong:

        - `auroc`: mean predictions, ranked by their standard deviation over the draws;
        - `auroc_entropy`: mean predictions, ranked by their entropy;
        - `auroc_max_probability`: baseline without draws: predictions under population statistics,
          ranked by 1 - the largest probability.

        And shares of wrong predictions in [0, 1]: `error_of_mean_top1` of the mean predictions, and
        `error_top1` under population statistics.

    Raises:
        UserError: the model has no batch norms that are not frozen, or the test images have no
            labels.
    """
    if not keeps_statistics(model):
        raise UserError(
            f"evaluation.uncertainty={draws}: the network has no batch norm, or only frozen ones; "
            "use a batch norm, or evaluation.uncertainty=0"
        )
    test = scoring.limited(scoring.images.test)
    if test.labels is None:
        raise UserError("evaluation.uncertainty needs labelled test images, but there are none")
    inputs = scoring.to_input(test.images.to(scoring.device))
    with population_statistics_at_evaluation(model):
        plain = probabilities(model, inputs, batch_size=scoring.batch_size)
    everything, seed = scoring.images.everything, scoring.seed
    size, generator = min(scoring.batch_size, len(everything)), torch.Generator().manual_seed(seed)
    batches = Batches(everything, batch_size=size, seed=seed, device=scoring.device)
    drawn_from = (scoring.make_views(pixels, generator)[0] for pixels in batches.iterate(0, draws))
    with naming("evaluation.uncertainty"):
        drawn = uncertainty(model, inputs, drawn_from, batch_size=scoring.batch_size)
    wrong, wrong_of_mean = plain.argmax(1) != test.labels, drawn.classes != test.labels
    return {
        "auroc": auroc(drawn.std, wrong_of_mean),
        "auroc_entropy": auroc(drawn.entropy, wrong_of_mean),
        "auroc_max_probability": auroc(1 - plain.amax(1), wrong),
        "error_of_mean_top1": wrong_of_mean.double().mean().item(),
        "error_top1": wrong.double().mean().item(),
    }
