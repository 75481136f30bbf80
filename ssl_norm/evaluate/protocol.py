"""Linear and nearest-neighbour classification of the features of a frozen encoder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ssl_norm.data.dataset import ImageSet
from ssl_norm.data.subsets import label_subset
from ssl_norm.errors import UserError
from ssl_norm.evaluate.accuracy import class_accuracies, majority_frequency, top_k_accuracy
from ssl_norm.evaluate.features import extract_features
from ssl_norm.evaluate.knn import knn_scores
from ssl_norm.evaluate.logistic import (
    choose_inverse_strength,
    fit_logistic,
    fit_sgd_probe,
    standardize,
)
from ssl_norm.monitors import rank_me
from ssl_norm.names import unknown_name

PROTOCOLS = ("logistic", "sgd")


@dataclass(frozen=True)
class ProbeResult:
    """Accuracies of an encoder's features, as fractions in [0, 1]."""

    top1: float  # top-1 of the linear classifier
    top5: float | None  # top-5 of the linear classifier; None for five classes or fewer
    per_class: dict[str, float | None]  # top-1 of each class; None: no test images
    knn_top1: float  # top-1 of the weighted nearest neighbours
    rank_me: float  # RankMe of the test images' features
    chance: float  # share of the most common class among the test images
    labels: int  # number of labelled training images
    inverse_strength: float | None  # scikit-learn's C of the L2 penalty; None for SGD


@dataclass(frozen=True)
class Probe:
    """Options of the classifiers that are fitted on frozen features.

    Raises:
        UserError: the protocol is unknown.
    """

    # `logistic`: on standardized features, with an L2 strength chosen on a held-out fifth of the
    # training labels; `sgd`: as in the papers.
    protocol: str = "logistic"
    labels: float = 1.0  # fraction of the training labels of every class
    k: int = 200  # number of neighbours that vote
    temperature: float = 0.1  # temperature of their weights, above 0
    sgd: Mapping[str, Any] = field(default_factory=dict)  # options of `fit_sgd_probe`
    seed: int = 0  # seed of the fraction, the held-out part and the order of SGD

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise UserError(unknown_name("protocol", self.protocol, PROTOCOLS))

    def linear_scores(
        self, features: Tensor, labels: Tensor, test_features: Tensor, classes: int
    ) -> tuple[Tensor, float | None]:
        """Return scores (N, K) of the test features, and the inverse strength of the penalty."""
        if self.protocol == "sgd":
            probe = fit_sgd_probe(features, labels, classes, **self.sgd, seed=self.seed)
            return probe.scores(test_features), None
        features, test_features = standardize(features, test_features)
        inverse_strength = choose_inverse_strength(features, labels, classes, self.seed)
        classifier = fit_logistic(features, labels, classes, inverse_strength)
        return classifier.scores(test_features), inverse_strength

    def result(
        self, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], names: Sequence[str]
    ) -> ProbeResult:
        """Fit the classifiers and score them, on features (M, F) and int64 labels (M,)."""
        features, labels = test
        scores, inverse_strength = self.linear_scores(*train, features, len(names))
        votes = knn_scores(*train, features, len(names), self.k, self.temperature)
        return ProbeResult(
            top1=top_k_accuracy(scores, labels, 1),
            top5=top_k_accuracy(scores, labels, 5) if len(names) > 5 else None,
            per_class=dict(zip(names, class_accuracies(scores, labels), strict=True)),
            knn_top1=top_k_accuracy(votes, labels, 1),
            rank_me=rank_me(features).item(),
            chance=majority_frequency(labels),
            labels=len(train[1]),
            inverse_strength=inverse_strength,
        )


@dataclass(frozen=True)
class ProbeImages:
    """Labelled images, and the evaluation view of an encoder.

    Raises:
        UserError: there are no labels, or fewer than two classes.
    """

    train: ImageSet
    test: ImageSet
    to_input: Callable[[Tensor], Tensor]  # from uint8 pixels (B, H, W, 3) to the encoder's input

    def __post_init__(self) -> None:
        if self.train.labels is None or self.test.labels is None:
            raise UserError("linear evaluation needs labelled images, and these have none")
        if self.train.labels.bincount().count_nonzero() < 2:
            count = len(self.train)
            raise UserError(
                f"all {count} training images are of one class; linear evaluation needs two"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all classes, or their numbers if they have no names."""
        labels = [part.labels for part in (self.train, self.test) if part.labels is not None]
        count = 1 + int(torch.cat(labels).max())
        found = self.train.classes
        return found if len(found) >= count else tuple(map(str, range(count)))


def evaluate_encoder(
    encoder: nn.Module,
    images: ProbeImages,
    probe: Probe,
    *,
    device: torch.device | str = "cpu",
    **options: Any,
) -> ProbeResult:
    """Return the accuracies of a probe on an encoder's features.

    Further options are those of :func:`extract_features`. The classifiers are fitted on `device` if
    it is a CUDA device, else on the CPU.

    Raises:
        UserError: the fraction of labels is too small, or features are not finite.
    """
    train, test = images.train, images.test
    assert train.labels is not None
    train = train.subset(label_fraction(train.labels, probe.labels, probe.seed))
    fit_device = torch.device(device if torch.device(device).type == "cuda" else "cpu")

    def labelled_features(part: ImageSet) -> tuple[Tensor, Tensor]:
        assert part.labels is not None
        features = extract_features(encoder, part, images.to_input, device=device, **options)
        return features.to(fit_device), part.labels.to(fit_device)

    return probe.result(labelled_features(train), labelled_features(test), images.names)


def label_fraction(labels: Tensor, fraction: float, seed: int) -> Tensor:
    """Return the indices of a seeded fraction in (0, 1] of every class, in ascending order.

    The choice among N labels from 0 of at least two classes, on the CPU, is that of
    :func:`label_subset`, among the classes that have samples.

    Raises:
        UserError: the fraction is outside (0, 1], a class would have no sample, or only one class
            occurs.
    """
    occurring = labels.bincount().nonzero()[:, 0]
    among_occurring = torch.searchsorted(occurring, labels)
    names = [str(label) for label in occurring.tolist()]
    return label_subset(among_occurring, fraction=fraction, seed=seed, classes=names)
