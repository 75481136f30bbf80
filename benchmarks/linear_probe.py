"""Linear probe against scikit-learn, and the extraction of features against bare forward passes.

    python benchmarks/linear_probe.py --root data/cifar10 > linear_probe.md

Features (N, 512) of a random ResNet-18 with its ImageNet stem, on CIFAR-10 as files at 32 px. Both
classifiers search the same strengths of the L2 penalty on the same held-out fifth of the training
images, and fit all of them at the best one. scikit-learn does so by LogisticRegressionCV with its
default tolerance.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import TypeVar

import torch
from norm_costs.tables import header, table
from sklearn.linear_model import LogisticRegressionCV
from torch import Tensor, nn

from ssl_norm.data.dataset import ImageSet
from ssl_norm.data.load import load_splits
from ssl_norm.data.subsets import stratified_split
from ssl_norm.evaluate.features import evaluation_view, extract_features
from ssl_norm.evaluate.logistic import (
    INVERSE_STRENGTHS,
    choose_inverse_strength,
    fit_logistic,
    standardize,
)
from ssl_norm.models.encoders import build_encoder
from ssl_norm.train.environment import describe_environment

MEAN, STD = (0.491, 0.482, 0.447), (0.247, 0.243, 0.262)
BATCH = 256
T = TypeVar("T")


def seconds(action: Callable[[], T]) -> tuple[float, T]:
    """Return the CPU time of an action, and its result."""
    start = time.process_time()
    result = action()
    return time.process_time() - start, result


def ours(x: Tensor, y: Tensor, test: Tensor) -> Tensor:
    """Return the classes that this package's search and fit predict."""
    strength = choose_inverse_strength(x, y, int(y.max()) + 1, seed=0)
    return fit_logistic(x, y, int(y.max()) + 1, strength).scores(test).argmax(1)


def scikit_learn(iterations: int, x: Tensor, y: Tensor, test: Tensor) -> Tensor:
    """Return the classes that scikit-learn's search and fit predict."""
    split = [part.numpy() for part in stratified_split(y, 0.2, 0)]
    model = LogisticRegressionCV(Cs=INVERSE_STRENGTHS, cv=[split], max_iter=iterations)
    model.fit(x.numpy(), y.numpy())
    return torch.from_numpy(model.predict(test.numpy()))


@torch.no_grad()
def forward(encoder: nn.Module, batches: Sequence[Tensor]) -> None:
    """Run the encoder on ready batches, in channels-last memory as the extraction does."""
    encoder.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for batch in batches:
        encoder(batch)


def main() -> None:
    """Measure and print them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", required=True, help="train/<class>/*.jpg, test/<class>/*.jpg")
    parser.add_argument("--images", type=int, default=50_000, help="training images")
    parser.add_argument("--iterations", type=int, default=1000, help="scikit-learn's max_iter")
    parser.add_argument("--rounds", type=int, default=5, help="of the extraction")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print("\n".join(header(describe_environment(torch.device("cpu")))), flush=True)

    splits = load_splits("folder", root=options.root, image_size=32)
    assert splits.train is not None
    assert splits.test is not None
    torch.manual_seed(0)
    encoder = build_encoder("resnet18", small_images=False, image_size=32)
    view = partial(evaluation_view, image_size=32, mean=MEAN, std=STD)
    train = splits.train.subset(torch.randperm(len(splits.train))[: options.images])

    def extracted(images: ImageSet) -> Tensor:
        return extract_features(encoder, images, view, batch_size=BATCH)

    few = splits.train.subset(range(20 * BATCH))
    ready = [view(batch) for batch in few.images.split(BATCH)]
    ratios = []
    for _ in range(options.rounds + 1):
        bare, _ = seconds(lambda: forward(encoder, ready))
        extraction, _ = seconds(lambda: extracted(few))
        ratios.append(bare / extraction)
    print(f"\nbare forward pass / extraction: {median(ratios[1:]):.3f}", flush=True)

    x, test = standardize(extracted(train), extracted(splits.test))
    y, test_y = train.labels, splits.test.labels
    assert y is not None
    assert test_y is not None
    rows = []
    contestants = {"ssl_norm": ours, "scikit-learn": partial(scikit_learn, options.iterations)}
    for name, fit in contestants.items():
        time_taken, predicted = seconds(partial(fit, x, y, test))
        accuracy = (predicted == test_y).double().mean().item()
        rows.append((name, f"{time_taken:.1f}", f"{accuracy:.4f}"))
        print(name, *rows[-1][1:], file=sys.stderr, flush=True)
    print(f"\n{len(x):,} training and {len(test):,} test images, {x.shape[1]} features\n")
    print("\n".join(table(("probe", "CPU s", "top-1"), rows)))


if __name__ == "__main__":
    main()
