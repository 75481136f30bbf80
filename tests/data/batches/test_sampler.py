from collections import Counter

import pytest
import torch

from ssl_norm.data.batches.sampler import Passes, epoch_order, grouped_order


def test_each_epoch_and_seed_has_its_own_permutation():
    state = torch.get_rng_state()
    orders = [epoch_order(50, seed, epoch) for seed in (0, 1, -1) for epoch in (0, 1)]
    assert all(order.sort().values.tolist() == list(range(50)) for order in orders)
    assert len({tuple(order.tolist()) for order in orders}) == 6
    assert torch.equal(orders[3], epoch_order(50, 1, 1))
    assert torch.equal(torch.get_rng_state(), state)


LABELS = torch.tensor([7] * 9 + [0] * 5 + [2] * 12 + [3] * 1)
GROUPED = {"batch_size": 24, "chunk": 6, "classes_per_chunk": 1, "shuffle": False, "seed": 4}


def grouped(start: int = 0, stop: int = 40, **options) -> list[list[int]]:
    settings = {**GROUPED, **options}
    orders = grouped_order(LABELS, settings.pop("batch_size"), **settings, start=start, stop=stop)
    return [order.tolist() for order in orders]


def chunks(order: list[int], size: int = 6) -> list[list[int]]:
    return [order[first : first + size] for first in range(0, len(order), size)]


def test_passes_are_permutations_without_end_that_can_be_entered_anywhere():
    whole = Passes(5, seed=0).take(0, 50)
    assert whole.view(10, 5).sort(1).values.equal(torch.arange(5).expand(10, 5))
    assert len({tuple(row) for row in whole.view(10, 5).tolist()}) > 5
    for first in range(20):
        for count in (1, 5, 13):
            assert Passes(5, seed=0).take(first, count).equal(whole[first : first + count])


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_a_chunk_has_its_classes_in_equal_parts(classes):
    for order in grouped(classes_per_chunk=classes):
        for chunk in chunks(order):
            found = LABELS[chunk]
            assert sorted(Counter(found.tolist()).values()) == [6 // classes] * classes
            assert found.view(-1, classes).equal(found[:classes].expand(6 // classes, classes))


def test_classes_have_equal_chances():
    counts = Counter(LABELS[chunk[0]].item() for order in grouped() for chunk in chunks(order))
    assert set(counts) == {0, 2, 3, 7}
    assert min(counts.values()) > 20  # 40 expected, standard deviation 5.5


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_class_is_passed_through_evenly(shuffle):
    seen = Counter(row for order in grouped(shuffle=shuffle) for row in order)
    for label in (0, 2, 3, 7):
        times = [seen[row] for row in LABELS.eq(label).nonzero()[:, 0].tolist()]
        assert max(times) - min(times) <= 1


@pytest.mark.parametrize("classes", [1, 2])
def test_shuffling_changes_only_which_images_are_neighbours(classes):
    apart, together = (
        grouped(classes_per_chunk=classes, shuffle=shuffle) for shuffle in (True, False)
    )
    assert [sorted(order) for order in apart] == [sorted(order) for order in together]
    assert all(a != b for a, b in zip(apart, together, strict=True))
    mixed = [len(set(LABELS[chunk].tolist())) for order in apart for chunk in chunks(order)]
    assert sum(mixed) / len(mixed) > classes + 0.5
