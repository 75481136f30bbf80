import pytest
import torch

from ssl_norm.data.subsets import random_subset, stratified_split

LABELS = torch.tensor([0] * 10 + [1] * 5 + [2] * 2 + [3])


def test_every_class_gives_its_share():
    train, test = stratified_split(LABELS, 0.2, seed=0)
    assert LABELS[test].bincount(minlength=4).tolist() == [2, 1, 1, 0]
    assert torch.cat([train, test]).sort().values.tolist() == list(range(18))


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_classes_of_two_are_on_both_sides(fraction):
    train, test = stratified_split(LABELS, fraction, seed=0)
    assert LABELS[train].unique().tolist() == [0, 1, 2, 3]
    assert LABELS[test].unique().tolist() == [0, 1, 2]


def test_the_seed_decides():
    first, again, other = (stratified_split(LABELS, 0.5, seed)[1].tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_subsets_are_seeded_ascending_and_without_repetition():
    subset = random_subset(100, 40, seed=3)
    assert subset.tolist() == sorted(set(subset.tolist()))
    assert len(subset) == 40
    assert torch.equal(subset, random_subset(100, 40, seed=3))
    assert not torch.equal(subset, random_subset(100, 40, seed=4))
