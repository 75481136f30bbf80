"""A classifier under population, exact and batch statistics: the rows of evaluations.csv."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ssl_norm.commands.classifier_inputs import (
    corrupting,
    evaluation_input,
    even_size,
    keeps_statistics,
    limited,
)
from ssl_norm.config import FinetuneConfig
from ssl_norm.data.corruption import Corruption, parse_corruption
from ssl_norm.data.corruption_set import corrupted
from ssl_norm.data.image_set import ImageSet
from ssl_norm.data.order import epoch_order
from ssl_norm.evaluate.classifier import score
from ssl_norm.norms.batch_evaluation import batch_statistics_at_evaluation
from ssl_norm.norms.domain_batch_norm import DomainBatchNorm, domain_labels
from ssl_norm.norms.domain_pooling import domain_layers, pooled_over_domains
from ssl_norm.norms.kept_statistics import kept_statistics
from ssl_norm.train.build import naming
from ssl_norm.train.population import MakeViews, recompute_over_images
from ssl_norm.train.run_folder import Row

EVALUATION_COLUMNS = (
    "step", "split", "domain", "statistics", "statistics_from", "samples", "batch_size", "images",
    "top1", "loss",
)  # fmt: skip


@dataclass(frozen=True)
class TrainingImages:
    """The images of a run.

    Attributes:
        labelled: those that the loss is of.
        everything: all training images, labelled or not.
        test: labelled, and disjoint from both.
    """

    labelled: ImageSet
    everything: ImageSet
    test: ImageSet


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
    scores = _Scores(config, copy.deepcopy(model), images, make_views, step, device)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), naming("evaluation"):
        rows = scores.of_test_images(final)
        if final:
            rows += scores.of_training_images() if config.evaluation.train else []
            rows += scores.of_corruptions()
    return rows


def domain_name(corruption: Corruption | None) -> str:
    """Return the name of a domain in tables."""
    return "clean" if corruption is None else str(corruption)


@dataclass(frozen=True)
class _Scores:
    """Everything that a row depends on; `model` is a copy of its own."""

    config: FinetuneConfig
    model: nn.Module
    images: TrainingImages
    make_views: MakeViews
    step: int
    device: torch.device

    @property
    def domains(self) -> list[Corruption | None]:
        return [parse_corruption(domain) for domain in self.config.domains] or [None]

    @property
    def statistics(self) -> list[str]:
        asked = self.config.evaluation.statistics
        return asked if keeps_statistics(self.model) else ["population"]

    def of_test_images(self, final: bool) -> list[Row]:
        """Return the rows of the test images of every domain."""
        scoring, domains = self.config.evaluation, self.domains
        tests = [self.test_images(corruption) for corruption in domains]
        rows: list[Row] = []
        for number, (domain, test) in enumerate(zip(domains, tests, strict=True)):
            with self.in_domain(number):
                rows += self.own_rows(domain, test, self.statistics)
                if "exact" in self.statistics and len(domains) > 1:
                    first = scoring.samples[0], scoring.batch_sizes[0]
                    rows.append(self.adapted_row(domain, test, self.images.everything, *first))
        if "exact" in self.statistics:
            for origin, source, samples, size in self.exact_settings(final):
                pooled = self.pooled() if origin == "mixture" else nullcontext()
                with self.exact(source, domains, samples, size), pooled:
                    for number, (domain, test) in enumerate(zip(domains, tests, strict=True)):
                        with self.in_domain(number):
                            rows.append(self.row(domain, test, "exact", origin, samples, size))
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
        images = limited(self.images.labelled, self.config.evaluation.limit, self.config.seed)
        rows = []
        for number, domain in enumerate(self.domains):
            with self.in_domain(number):
                rows += self.own_rows(domain, images, kinds, split="train")
        return rows

    def of_corruptions(self) -> list[Row]:
        """Return the rows of corrupted test images, which a `domain` norm takes for its domain 0."""
        scoring, everything = self.config.evaluation, self.images.everything
        kinds = ["population", "batch"] if keeps_statistics(self.model) else ["population"]
        sizes = sorted({min(count, len(everything)) for count in scoring.adapt_samples})
        order = epoch_order(len(everything), self.config.seed, 0)
        rows = []
        for corruption in map(parse_corruption, scoring.corruptions):
            test = self.test_images(corruption)
            with self.in_domain(0):
                rows += self.own_rows(corruption, test, kinds)
                for count in sizes if "batch" in kinds else ():
                    seen = everything.subset(order[:count])
                    batch = scoring.batch_sizes[0]
                    rows.append(self.adapted_row(corruption, test, seen, count, batch))
        return rows

    def own_rows(
        self,
        domain: Corruption | None,
        images: ImageSet,
        kinds: Sequence[str],
        split: str = "test",
    ) -> list[Row]:
        """Return the rows that need no other images than those that are scored."""
        rows = []
        if "population" in kinds:
            rows.append(self.row(domain, images, "population", split=split))
        if "batch" in kinds:
            size = self.config.evaluation.batch_size
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
        """Return the row with statistics re-estimated on training images of the same domain."""
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
        """Score the model as it is, and return the row."""
        found = score(
            self.model,
            images,
            self.training_input(domain)
            if split == "train"
            else partial(evaluation_input, self.config),
            batch_size=self.config.evaluation.batch_size,
            device=self.device,
            seed=self.config.seed,
        )
        place = (self.step, split, domain_name(domain))
        kind = (statistics, statistics_from, samples, batch_size)
        values = (*place, *kind, found.images, found.top1, found.loss)
        return dict(zip(EVALUATION_COLUMNS, values, strict=True))

    def training_input(self, domain: Corruption | None) -> Callable[[Tensor], Tensor]:
        """Return what makes training views of pixels (B, H, W, 3) uint8, corrupted before, always the same."""
        generator = torch.Generator().manual_seed(self.config.seed)
        views = corrupting(self.make_views, [domain])
        return lambda pixels: views(pixels.permute(0, 3, 1, 2), generator)[0]

    def test_images(self, corruption: Corruption | None) -> ImageSet:
        """Return the test images of a domain, no more than the limit."""
        seed = self.config.seed
        return corrupted(
            limited(self.images.test, self.config.evaluation.limit, seed), corruption, seed
        )

    def in_domain(self, number: int) -> AbstractContextManager[None]:
        """Tell `domain` norms, where there are some, the domain of all that passes."""
        if any(isinstance(layer, DomainBatchNorm) for layer in self.model.modules()):
            return domain_labels(self.model, number)
        return nullcontext()

    def pooled(self) -> AbstractContextManager[None]:
        """Pool the statistics of `domain` norms over the domains, where there are such norms."""
        return pooled_over_domains(self.model) if domain_layers(self.model) else nullcontext()

    @contextmanager
    def exact(
        self,
        images: ImageSet,
        domains: Sequence[Corruption | None],
        samples: int,
        batch_size: int,
    ) -> Iterator[None]:
        """Recompute the statistics on training views of images, in equal parts of these domains."""
        with kept_statistics(self.model):
            recompute_over_images(
                self.model,
                corrupting(self.make_views, domains),
                images,
                samples=samples,
                batch_size=even_size(samples, batch_size, len(images), len(domains)),
                seed=self.config.seed,
                device=self.device,
            )
            yield
