"""One row of evaluations.csv: a classifier on the images of one domain, under one kind of statistics."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ssl_norm.config import FinetuneConfig
from ssl_norm.data.corruption.dataset import corrupted
from ssl_norm.data.corruption.spec import Corruption
from ssl_norm.data.dataset import ImageSet
from ssl_norm.evaluate.classifier.accuracy import score
from ssl_norm.evaluate.classifier.inputs import corrupting, evaluation_input, even_size, limited
from ssl_norm.norms.batch.evaluation_statistics import (
    batch_statistics_at_evaluation,
    domain_layers,
    kept_statistics,
    pooled_over_domains,
    population_statistics_at_evaluation,
)
from ssl_norm.norms.layers.domain_batch_norm import DomainBatchNorm, domain_labels
from ssl_norm.train.population import MakeViews, recompute_over_images
from ssl_norm.train.run_folder import Row

EVALUATION_COLUMNS = (
    "step", "split", "domain", "statistics", "statistics_from", "samples", "batch_size", "images",
    "top1", "loss",
)  # fmt: skip


def domain_name(corruption: Corruption | None) -> str:
    """Return the name of a domain in tables."""
    return "clean" if corruption is None else str(corruption)


@dataclass(frozen=True)
class Scorer:
    """Everything that a row depends on, and what makes one.

    Attributes:
        config: of the run.
        model: on `device`; as before after every row.
        make_views: from uint8 images (N, 3, H, W) and a generator to (views,), as in training.
        step: for the column.
        device: of the model.
    """

    config: FinetuneConfig
    model: nn.Module
    make_views: MakeViews
    step: int
    device: torch.device

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
            with population_statistics_at_evaluation(self.model):
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

    def scored_images(self, images: ImageSet, corruption: Corruption | None = None) -> ImageSet:
        """Return images as of a domain, no more than the limit."""
        seed = self.config.seed
        return corrupted(limited(images, self.config.evaluation.limit, seed), corruption, seed)

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
        with kept_statistics(self.model), population_statistics_at_evaluation(self.model):
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
