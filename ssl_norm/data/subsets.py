"""Seeded choices of images: balanced subsets, stratified splits."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ssl_norm.errors import UserError


def label_subset(
    labels: Tensor,
    *,
    count: int | None = None,
    per_class: int | None = None,
    fraction: float | None = None,
    seed: int,
    classes: Sequence[str],
) -> Tensor:
    """Return the indices of a seeded, balanced choice of labelled images, in ascending order.

    One of `count`, `per_class` and `fraction` is given. Each class has an order that depends on the
    seed, and the first images of each class are chosen. With the same seed, a smaller choice is
    therefore part of a larger one, and `count=40` of ten large classes equals `per_class=4`.

    Args:
        labels: (N,) int64, indices into `classes`, on the CPU.
        count: number of images over all K classes, from K to N, divided as evenly as possible; the
            seed decides which classes get one image more.
        per_class: number of images of each class, at least 1.
        fraction: share of each class in (0, 1], to the nearest image.
        seed: seed of the choice.
        classes: K >= 2 names; every class occurs in the choice.

    Raises:
        UserError: there are fewer than two classes, a class without images, or too few images.
    """
    sizes = _class_sizes(labels, classes)
    generator = torch.Generator().manual_seed(seed)
    ranks = _ranks(labels, sizes, generator)
    if count is not None:
        total = int(sizes.sum())
        if count > total:
            raise UserError(
                f"labels={count}: there are {total:,} labelled images; use at most {total}"
            )
        if count < len(sizes):
            raise UserError(
                f"labels={count} leaves {len(sizes) - count} of {len(sizes)} classes without an "
                f"image; use at least {len(sizes)}"
            )
        turns = torch.randperm(len(classes), generator=generator)
        return (ranks * len(classes) + turns[labels]).argsort()[:count].sort().values
    if fraction is not None:
        return (ranks < _fraction_sizes(fraction, sizes, classes)[labels]).nonzero()[:, 0]
    assert per_class is not None
    smallest = int(sizes.argmin())
    if not 1 <= per_class <= sizes[smallest]:
        raise UserError(
            f"labels_per_class={per_class}: class {classes[smallest]} has {sizes[smallest]} images; "
            f"use 1 to {sizes[smallest]}"
        )
    return (ranks < per_class).nonzero()[:, 0]


def _class_sizes(labels: Tensor, classes: Sequence[str]) -> Tensor:
    if len(classes) < 2:
        raise UserError(f"{len(classes)} class with labels; a classifier needs at least two")
    sizes = labels.bincount(minlength=len(classes))
    empty = [name for name, size in zip(classes, sizes.tolist(), strict=True) if not size]
    if empty:
        count = len(empty) - 1
        others = f", nor {'has' if count == 1 else 'have'} {count:,} more" if count else ""
        raise UserError(
            f"class {empty[0]} has no image to train on{others}; every class needs one: "
            "add images, or raise data.limit where it is set"
        )
    return sizes


def _ranks(labels: Tensor, sizes: Tensor, generator: torch.Generator) -> Tensor:
    """Return the position of each image, from 0, in a random order of its class."""
    order = torch.randperm(len(labels), generator=generator)
    by_class = order[labels[order].argsort(stable=True)]
    firsts = sizes.cumsum(0) - sizes
    ranks = torch.empty_like(order)
    ranks[by_class] = torch.arange(len(labels)) - firsts[labels[by_class]]
    return ranks


def _fraction_sizes(fraction: float, sizes: Tensor, classes: Sequence[str]) -> Tensor:
    if not 0 < fraction <= 1:
        raise UserError(f"labels must be a fraction in (0, 1], got {fraction:g}")
    kept = torch.tensor([round(fraction * size) for size in sizes.tolist()])
    if not kept.all():
        name, size = classes[int(kept.argmin())], int(sizes[kept.argmin()])
        raise UserError(
            f"labels={fraction:g} keeps none of the {size} samples of class {name}; "
            f"use at least {1 / size:.2g}"
        )
    return kept


def stratified_split(labels: Tensor, test_fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return the ascending indices of a training and a test part of (N,) labels.

    Of n images of a class, `round(test_fraction * n)` go to the test part, but at least one and at
    most n - 1; a single image goes to the training part. The choice in a class depends on the seed
    and on the previous classes.
    """
    generator = torch.Generator().manual_seed(seed)
    is_test = torch.zeros(len(labels), dtype=torch.bool)
    for label in sorted(set(labels.tolist())):
        members = (labels == label).nonzero().squeeze(1)
        count = min(max(round(test_fraction * len(members)), 1), len(members) - 1)
        is_test[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    return (~is_test).nonzero().squeeze(1), is_test.nonzero().squeeze(1)


def random_subset(size: int, count: int, seed: int) -> Tensor:
    """Draw `count` of the numbers 0 ... `size` - 1 by `seed`; (count,) int64, ascending."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(size, generator=generator)[:count].sort().values
