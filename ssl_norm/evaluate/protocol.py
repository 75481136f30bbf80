"""How well the features of a frozen encoder tell the classes of labelled images apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ssl_norm.config import KnnConfig, SgdProbeConfig
from ssl_norm.data.dataset import ImageSet
from ssl_norm.errors import UserError
from ssl_norm.evaluate.accuracy import class_accuracies, majority_frequency, top_k_accuracy
from ssl_norm.evaluate.features import extract_features
from ssl_norm.evaluate.knn import knn_scores
from ssl_norm.evaluate.logistic import choose_inverse_strength, fit_logistic
from ssl_norm.evaluate.sgd_probe import fit_sgd_probe
from ssl_norm.evaluate.standardize import standardize
from ssl_norm.evaluate.subset import label_fraction
from ssl_norm.monitors import rank_me
from ssl_norm.names import unknown_name

PROTOCOLS = ("logistic", "sgd")


@dataclass(frozen=True)
class Evaluation:
    """What :func:`evaluate_encoder` found; accuracies are fractions in [0, 1].

    Attributes:
        top1: share of test images whose class the linear classifier scores highest.
        top5: share of those whose class is among its five highest; None where there are five
            classes or fewer.
        per_class: top-1 on the test images of each class; None for a class without any.
        knn_top1: top-1 of the weighted nearest neighbours.
        rank_me: effective rank of the test images' features; see :func:`ssl_norm.monitors.rank_me`.
        chance: share of the most common class among the test images.
        labels: number of labelled training images used.
        inverse_strength: of the L2 penalty that was chosen (scikit-learn's C); None for the SGD
            protocol.
    """

    top1: float
    top5: float | None
    per_class: dict[str, float | None]
    knn_top1: float
    rank_me: float
    chance: float
    labels: int
    inverse_strength: float | None


def evaluate_encoder(
    encoder: nn.Module,
    train: ImageSet,
    test: ImageSet,
    *,
    image_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    protocol: str = "logistic",
    labels: float = 1.0,
    knn: KnnConfig | None = None,
    sgd: SgdProbeConfig | None = None,
    batch_size: int = 256,
    random_batches: bool = False,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> Evaluation:
    """Return the accuracies of linear classification and nearest neighbours on the features.

    Args:
        encoder: see :func:`extract_features`; unchanged but for its device and memory layout.
        train: labelled images that the classifier and the neighbours come from.
        test: labelled images that are scored.
        image_size: side in pixels of what the encoder sees.
        mean: of each colour, in [0, 1].
        std: of each colour, in [0, 1].
        protocol: `logistic` (L2 strength chosen on a held-out fifth of the training labels, on
            standardised features) or `sgd` (as the papers).
        labels: fraction of the training labels to use, the same share of every class.
        knn: neighbours and temperature; by default those of `KnnConfig`.
        sgd: rate and length of the SGD protocol; by default those of `SgdProbeConfig`.
        batch_size: images per forward pass.
        random_batches: see :func:`extract_features`.
        seed: of the fraction, the held-out part and the order of SGD.
        device: where the encoder runs, and the fits as well where it is a CUDA device.
        progress: show progress on stderr.

    Raises:
        UserError: no labels, fewer than two classes, an unknown protocol, too small a fraction, or
            features that are not finite.
    """
    if protocol not in PROTOCOLS:
        raise UserError(unknown_name("protocol", protocol, PROTOCOLS))
    knn, sgd = knn or KnnConfig(), sgd or SgdProbeConfig()
    train_labels, test_labels, names = _labels_of(train, test)
    chosen = label_fraction(train_labels, labels, seed)
    train, train_labels = train.subset(chosen), train_labels[chosen]

    extract = partial(
        extract_features,
        encoder,
        image_size=image_size,
        mean=mean,
        std=std,
        batch_size=batch_size,
        random_batches=random_batches,
        device=device,
        progress=progress,
    )
    fit_device = torch.device(device if torch.device(device).type == "cuda" else "cpu")
    train_features, test_features = extract(train).to(fit_device), extract(test).to(fit_device)
    train_labels, test_labels = train_labels.to(fit_device), test_labels.to(fit_device)

    scores, inverse_strength = _linear_scores(
        train_features, train_labels, test_features, len(names), protocol, sgd, seed
    )
    votes = knn_scores(
        train_features, train_labels, test_features, len(names), knn.k, knn.temperature
    )
    return Evaluation(
        top1=top_k_accuracy(scores, test_labels, 1),
        top5=top_k_accuracy(scores, test_labels, 5) if len(names) > 5 else None,
        per_class=dict(zip(names, class_accuracies(scores, test_labels), strict=True)),
        knn_top1=top_k_accuracy(votes, test_labels, 1),
        rank_me=rank_me(test_features).item(),
        chance=majority_frequency(test_labels),
        labels=len(train),
        inverse_strength=inverse_strength,
    )


def _labels_of(train: ImageSet, test: ImageSet) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Return both label tensors and the names of all classes."""
    if train.labels is None or test.labels is None:
        raise UserError("linear evaluation needs labelled images, and these have none")
    count = 1 + int(torch.cat([train.labels, test.labels]).max())
    names = train.classes if len(train.classes) >= count else tuple(map(str, range(count)))
    if train.labels.bincount().count_nonzero() < 2:
        raise UserError(
            f"all {len(train)} training images are of one class; linear evaluation needs two"
        )
    return train.labels, test.labels, names


def _linear_scores(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    classes: int,
    protocol: str,
    sgd: SgdProbeConfig,
    seed: int,
) -> tuple[Tensor, float | None]:
    """Return (N, K) scores of the test features and the inverse strength of the penalty."""
    if protocol == "sgd":
        probe = fit_sgd_probe(
            train_features,
            train_labels,
            classes,
            lr=sgd.lr,
            epochs=sgd.epochs,
            batch_size=sgd.batch_size,
            momentum=sgd.momentum,
            weight_decay=sgd.weight_decay,
            seed=seed,
        )
        return probe.scores(test_features), None
    train_features, test_features = standardize(train_features, test_features)
    inverse_strength = choose_inverse_strength(train_features, train_labels, classes, seed)
    classifier = fit_logistic(train_features, train_labels, classes, inverse_strength)
    return classifier.scores(test_features), inverse_strength
