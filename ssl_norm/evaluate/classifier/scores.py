"""A classifier under population, exact and batch statistics: the rows of evaluations.csv."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from ssl_norm.data.batches.sampler import epoch_order
from ssl_norm.data.dataset import ImageSet
from ssl_norm.evaluate.classifier.inputs import Scoring, keeps_statistics
from ssl_norm.evaluate.classifier.rows import Scorer
from ssl_norm.train.builder import naming
from ssl_norm.train.run_folder import Row


def score_classifier(scoring: Scoring, model: nn.Module, step: int, *, final: bool) -> list[Row]:
    """Return the rows of evaluations.csv for a classifier at one step.

    The columns, `EVALUATION_COLUMNS`:

    - `split`: `test`, in evaluation views; `train`, the labelled images in training views.
    - `domain`: `clean`, or the corruption of the scored images, as `contrast:5`.
    - `statistics`: `population`, the running ones; `exact`, recomputed; `batch`, of random batches.
    - `statistics_from`: images of exact statistics, in training views: `all` training images; the
      `labelled` ones; the `mixture` of all domains; the row's own `domain`. Empty for the others.
    - `samples`: requested number of views for exact statistics, rounded down to whole batches;
      else 0.
    - `batch_size`: of exact statistics, the largest batch they were computed in (batches are equal,
      and not larger than the number of images); of batch statistics, the evaluated batches, which
      hold the norm's ghost batches. 0 for population statistics.

    While training, the test images under each of `statistics`. At the end also exact statistics at
    every pair of `samples` and `batch_sizes`, and those of the labelled images if there are others;
    the training images if `train`; and the test images under each of `corruptions`: with the
    model's statistics, with those re-estimated on `adapt_samples` corrupted training images, and
    with those of batches. Training images are seen in training views under both kinds of
    statistics, as in the training curve of Wu & Johnson (arXiv 2105.07576, figure 5), so that the
    two differ only in the statistics.

    With several `domains`, the test images of each, by a `domain` norm's statistics of it. Exact
    statistics of the mixture are then pooled over a `domain` norm's domains. So the six rows of
    the paper's table 5 are:

        1 bn, population                        2 bn, exact from domain
        3 domain, exact from mixture            4 domain, population, or exact from domain
        5 and 6: as 3 and 4 with affine_per_domain

    Without batch norms, or if all of them are frozen, there are only population rows.

    Args:
        scoring: images and conditions.
        model: a classifier on its device; a copy of it is scored.
        step: for the column.
        final: whether training is over.

    Raises:
        UserError: the statistics cannot be computed.
    """
    scores = _Scores(scoring, Scorer(scoring, copy.deepcopy(model), step))
    devices = [scoring.device] if scoring.device.type == "cuda" else []
    with torch.random.fork_rng(devices), naming("evaluation"):
        rows = scores.of_test_images(final)
        if final:
            rows += scores.of_training_images() if scoring.train else []
            rows += scores.of_corruptions()
    return rows


@dataclass(frozen=True)
class _Scores:
    """The rows of each kind of images."""

    scoring: Scoring
    scorer: Scorer

    @property
    def statistics(self) -> Sequence[str]:
        has_statistics = keeps_statistics(self.scorer.model)
        return self.scoring.statistics if has_statistics else ["population"]

    def of_test_images(self, final: bool) -> list[Row]:
        """Return the rows of the test images of every domain."""
        scoring, scorer, domains = self.scoring, self.scorer, self.scoring.domains
        tests = [scorer.scored_images(scoring.images.test, corruption) for corruption in domains]
        first = scoring.samples[0], scoring.batch_sizes[0]
        rows: list[Row] = []
        for number, (domain, test) in enumerate(zip(domains, tests, strict=True)):
            with scorer.in_domain(number):
                rows += scorer.own_rows(domain, test, self.statistics)
                if "exact" in self.statistics and len(domains) > 1:
                    everything = scoring.images.everything
                    rows.append(scorer.adapted_row(domain, test, everything, *first))
        return rows + (self.exact_rows(tests, final) if "exact" in self.statistics else [])

    def exact_rows(self, tests: Sequence[ImageSet], final: bool) -> list[Row]:
        """Return the rows of the test images of every domain under the same exact statistics."""
        domains, rows = self.scoring.domains, []
        for origin, source, samples, size in self.exact_settings(final):
            pooled = self.scorer.pooled() if origin == "mixture" else nullcontext()
            with self.scorer.exact(source, domains, samples, size), pooled:
                for number, (domain, test) in enumerate(zip(domains, tests, strict=True)):
                    with self.scorer.in_domain(number):
                        rows.append(self.scorer.row(domain, test, "exact", origin, samples, size))
        return rows

    def exact_settings(self, final: bool) -> Iterator[tuple[str, ImageSet, int, int]]:
        """Yield name and images of the origin of exact statistics, their number and batch size."""
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
        kinds = [kind for kind in ("population", "batch") if kind in self.statistics]
        images = self.scorer.scored_images(self.scoring.images.labelled)
        rows = []
        for number, domain in enumerate(self.scoring.domains):
            with self.scorer.in_domain(number):
                rows += self.scorer.own_rows(domain, images, kinds, split="train")
        return rows

    def of_corruptions(self) -> list[Row]:
        """Return the rows of corrupted test images, which are of domain 0 for a `domain` norm."""
        scoring, scorer, everything = self.scoring, self.scorer, self.scoring.images.everything
        kinds = ["population", "batch"] if keeps_statistics(scorer.model) else ["population"]
        sizes = sorted({min(count, len(everything)) for count in scoring.adapt_samples})
        order = epoch_order(len(everything), scoring.seed, 0)
        rows = []
        for corruption in scoring.corruptions:
            test = scorer.scored_images(scoring.images.test, corruption)
            with scorer.in_domain(0):
                rows += scorer.own_rows(corruption, test, kinds)
                for count in sizes if "batch" in kinds else ():
                    seen, batch = everything.subset(order[:count]), scoring.batch_sizes[0]
                    rows.append(scorer.adapted_row(corruption, test, seen, count, batch))
        return rows
