from itertools import pairwise

import pytest
import torch

from ssl_norm.data.subsets import label_subset, random_subset, stratified_split
from ssl_norm.errors import UserError

CLASSES = ("cat", "dog", "bird")
LABELS = torch.tensor([0] * 30 + [1] * 12 + [2] * 5)[
    torch.randperm(47, generator=torch.Generator().manual_seed(0))
]


def choose(seed: int = 0, **choice) -> torch.Tensor:
    return label_subset(LABELS, seed=seed, classes=CLASSES, **choice)


def sizes(**choice) -> list[int]:
    return LABELS[choose(**choice)].bincount(minlength=3).tolist()


def test_classes_give_as_many_as_is_asked_for_and_a_count_is_even():
    assert sizes(per_class=4) == [4, 4, 4]
    assert sizes(fraction=0.5) == [15, 6, 2]
    assert sizes(fraction=1.0) == [30, 12, 5]
    assert sizes(count=15) == [5, 5, 5]
    assert sizes(count=40) == [23, 12, 5]
    found = {tuple(sizes(count=4, seed=seed)) for seed in range(20)}
    assert found == {(2, 1, 1), (1, 2, 1), (1, 1, 2)}


def test_indices_ascend_and_follow_the_seed():
    state = torch.get_rng_state()
    for choice in ({"count": 10}, {"per_class": 3}, {"fraction": 0.4}):
        drawn = choose(**choice)
        assert (drawn.diff() > 0).all()
        assert drawn.equal(choose(**choice))
        assert not drawn.equal(choose(seed=1, **choice))
    assert torch.equal(torch.get_rng_state(), state)


def test_smaller_choices_are_part_of_larger_ones():
    for kind, values in (
        ("count", range(3, 48)),
        ("per_class", range(1, 6)),
        ("fraction", (0.2, 0.5, 0.9, 1.0)),
    ):
        chosen = [set(choose(**{kind: value}).tolist()) for value in values]
        assert all(few < many for few, many in pairwise(chosen))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"count": 48}, "labels=48: there are 47 labelled images; use at most 47"),
        ({"count": 2}, "labels=2 leaves 1 of 3 classes without an image; use at least 3"),
        ({"per_class": 6}, "labels_per_class=6: class bird has 5 images; use 1 to 5"),
        ({"fraction": 0.05}, "labels=0.05 keeps none of the 5 samples of class bird; use at"),
    ],
)
def test_impossible_choices_name_a_possible_one(choice, message):
    with pytest.raises(UserError, match=message) as error:
        choose(**choice)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ([0, 0], ("cat",), "1 class with labels; a classifier needs at least two"),
        ([0, 2], CLASSES, "class dog has no image to train on; every class needs"),
        (
            [0, 0],
            CLASSES,
            "class dog has no image to train on, nor has 1 more; every class needs one",
        ),
    ],
)
def test_every_one_of_several_classes_needs_images(labels, classes, message):
    with pytest.raises(UserError, match=message):
        label_subset(torch.tensor(labels), count=2, seed=0, classes=classes)


SORTED = torch.tensor([0] * 10 + [1] * 5 + [2] * 2 + [3])


def test_every_class_gives_its_share():
    train, test = stratified_split(SORTED, 0.2, seed=0)
    assert SORTED[test].bincount(minlength=4).tolist() == [2, 1, 1, 0]
    assert torch.cat([train, test]).sort().values.tolist() == list(range(18))


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_classes_of_two_images_are_in_both_parts(fraction):
    train, test = stratified_split(SORTED, fraction, seed=0)
    assert SORTED[train].unique().tolist() == [0, 1, 2, 3]
    assert SORTED[test].unique().tolist() == [0, 1, 2]


def test_subsets_are_seeded_ascending_and_without_repetition():
    subset = random_subset(100, 40, seed=3)
    assert subset.tolist() == sorted(set(subset.tolist()))
    assert len(subset) == 40
    assert torch.equal(subset, random_subset(100, 40, seed=3))
    assert not torch.equal(subset, random_subset(100, 40, seed=4))
