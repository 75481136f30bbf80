"""Rows of evaluations.csv: a classifier on images of one domain under one kind of statistics."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssl_norm.data.corruption.dataset import corrupted
from ssl_norm.data.corruption.spec import Corruption
from ssl_norm.data.dataset import ImageSet
from ssl_norm.evaluate.classifier.accuracy import score
from ssl_norm.evaluate.classifier.inputs import Scoring, corrupting, domain_name, even_size
from ssl_norm.norms.batch.evaluation_statistics import (
    batch_statistics_at_evaluation,
    domain_layers,
    kept_statistics,
    pooled_over_domains,
    population_statistics_at_evaluation,
)
from ssl_norm.norms.layers.domain_batch_norm import DomainBatchNorm, domain_labels
from ssl_norm.train.population import recompute_over_images
from ssl_norm.train.run_folder import Row

EVALUATION_COLUMNS = (
    "step", "split", "domain", "statistics", "statistics_from", "samples", "batch_size", "images",
    "top1", "loss",
)  # fmt: skip


@dataclass(frozen=True)
class Scorer:
    """Scores a classifier and writes a row for each score.

    Attributes:
        scoring: images and conditions.
        model: the classifier, on its device; every method leaves it unchanged.
        step: for the column.
    """

    scoring: Scoring
    model: nn.Module
    step: int

    def own_rows(
        self,
        domain: Corruption | None,
        images: ImageSet,
        kinds: Sequence[str],
        split: str = "test",
    ) -> list[Row]:
        """Return the rows under population and batch statistics, which need no other images."""
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
        """Score the model under its present statistics and return the row."""
        scoring = self.scoring
        found = score(
            self.model,
            images,
            self._training_input(domain) if split == "train" else scoring.to_input,
            batch_size=scoring.batch_size,
            device=scoring.device,
            seed=scoring.seed,
        )
        place = (self.step, split, domain_name(domain))
        kind = (statistics, statistics_from, samples, batch_size)
        values = (*place, *kind, found.images, found.top1, found.loss)
        return dict(zip(EVALUATION_COLUMNS, values, strict=True))

    def _training_input(self, domain: Corruption | None) -> Callable[[Tensor], Tensor]:
        """Return a function from pixels (B, H, W, 3) to seeded training views of a domain."""
        generator = torch.Generator().manual_seed(self.scoring.seed)
        views = corrupting(self.scoring.make_views, [domain])
        return lambda pixels: views(pixels.permute(0, 3, 1, 2), generator)[0]

    def scored_images(self, images: ImageSet, corruption: Corruption | None = None) -> ImageSet:
        """Return at most `limit` of these images, corrupted."""
        return corrupted(self.scoring.limited(images), corruption, self.scoring.seed)

    def in_domain(self, number: int) -> AbstractContextManager[None]:
        """Tell `domain` norms the domain of all images in this context."""
        if any(isinstance(layer, DomainBatchNorm) for layer in self.model.modules()):
            return domain_labels(self.model, number)
        return nullcontext()

    def pooled(self) -> AbstractContextManager[None]:
        """Pool the statistics of `domain` norms over their domains in this context."""
        return pooled_over_domains(self.model) if domain_layers(self.model) else nullcontext()

    @contextmanager
    def exact(
        self,
        images: ImageSet,
        domains: Sequence[Corruption | None],
        samples: int,
        batch_size: int,
    ) -> Iterator[None]:
        """Recompute the statistics on training views, in equal parts of these domains."""
        with kept_statistics(self.model), population_statistics_at_evaluation(self.model):
            recompute_over_images(
                self.model,
                corrupting(self.scoring.make_views, domains),
                images,
                samples=samples,
                batch_size=even_size(samples, batch_size, len(images), len(domains)),
                seed=self.scoring.seed,
                device=self.scoring.device,
            )
            yield
