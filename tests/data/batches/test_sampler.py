from collections import Counter

import pytest
import torch

from ssl_norm.data.batches.sampler import (
    Passes,
    epoch_order,
    epochs_of_steps,
    grouped_order,
    uniform_order,
)


def test_each_epoch_and_seed_has_its_own_permutation():
    orders = [epoch_order(50, seed, epoch) for seed in (0, 1, -1) for epoch in (0, 1)]
    assert all(order.sort().values.tolist() == list(range(50)) for order in orders)
    assert len({tuple(order.tolist()) for order in orders}) == 6
    assert torch.equal(orders[3], epoch_order(50, 1, 1))


def test_drawing_an_order_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    epoch_order(10, 0, 0)
    assert torch.equal(torch.get_rng_state(), state)


def test_steps_are_cut_at_epochs_from_any_start():
    def steps(start, stop):
        return [
            (epoch, step)
            for epoch, part in epochs_of_steps(start, stop, steps_per_epoch=3)
            for step in part
        ]

    assert steps(0, 7) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]
    for start in range(8):
        assert steps(start, 7) == steps(0, 7)[start:]


LABELS = torch.tensor([7] * 9 + [0] * 5 + [2] * 12 + [3] * 1)
GROUPED = {"batch_size": 24, "chunk": 6, "classes_per_chunk": 1, "shuffle": False, "seed": 4}


def grouped(start: int = 0, stop: int = 40, **options) -> list[list[int]]:
    settings = {**GROUPED, **options}
    orders = grouped_order(LABELS, settings.pop("batch_size"), **settings, start=start, stop=stop)
    return [order.tolist() for order in orders]


def chunks(order: list[int], size: int = 6) -> list[list[int]]:
    return [order[first : first + size] for first in range(0, len(order), size)]


def test_passes_are_fresh_permutations_without_end():
    stream = Passes(5, seed=0).take(0, 50).view(10, 5)
    assert stream.sort(1).values.equal(torch.arange(5).expand(10, 5))
    assert len({tuple(row) for row in stream.tolist()}) > 5


def test_passes_can_be_entered_anywhere():
    whole = Passes(5, seed=0).take(0, 40)
    for first in range(20):
        for count in (1, 5, 13):
            assert Passes(5, seed=0).take(first, count).equal(whole[first : first + count])


@pytest.mark.parametrize("size", [4, 23])
def test_uniform_batches_run_across_passes(size):
    batches = list(uniform_order(size, 6, seed=1, start=0, stop=size))
    assert all(len(batch) == 6 for batch in batches)
    assert torch.cat(batches).bincount().tolist() == [6] * size
    for start in range(5):
        later = list(uniform_order(size, 6, seed=1, start=start, stop=size))
        assert all(map(torch.equal, later, batches[start:]))


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_a_chunk_has_its_classes_in_equal_parts(classes):
    for order in grouped(classes_per_chunk=classes):
        for chunk in chunks(order):
            found = LABELS[chunk]
            assert sorted(Counter(found.tolist()).values()) == [6 // classes] * classes
            assert found.view(-1, classes).equal(found[:classes].expand(6 // classes, classes))


def test_classes_have_equal_chances_and_differ_between_the_chunks_of_a_batch():
    drawn = [tuple(LABELS[chunk[0]].item() for chunk in chunks(order)) for order in grouped()]
    counts = Counter(label for batch in drawn for label in batch)
    assert set(counts) == {0, 2, 3, 7}
    assert min(counts.values()) > 20  # 40 expected, standard deviation 5.5
    assert len(set(drawn)) > 30


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_class_is_passed_through_evenly(shuffle):
    seen = Counter(row for order in grouped(shuffle=shuffle) for row in order)
    for label in (0, 2, 3, 7):
        times = [seen[row] for row in LABELS.eq(label).nonzero()[:, 0].tolist()]
        assert max(times) - min(times) <= 1


@pytest.mark.parametrize("classes", [1, 2])
def test_shuffling_changes_who_stands_together_and_nothing_else(classes):
    apart, together = (
        grouped(classes_per_chunk=classes, shuffle=shuffle) for shuffle in (True, False)
    )
    assert [sorted(order) for order in apart] == [sorted(order) for order in together]
    assert all(a != b for a, b in zip(apart, together, strict=True))
    mixed = [len(set(LABELS[chunk].tolist())) for order in apart for chunk in chunks(order)]
    assert sum(mixed) / len(mixed) > classes + 0.5


@pytest.mark.parametrize("shuffle", [False, True])
def test_grouped_batches_can_be_entered_anywhere(shuffle):
    for start in (0, 1, 17, 40):
        assert grouped(start, shuffle=shuffle) == grouped(shuffle=shuffle)[start:]


def test_the_seed_decides_and_nothing_else():
    torch.manual_seed(0)
    first = grouped()
    torch.manual_seed(1)
    assert grouped() == first
    assert grouped(seed=5) != first
