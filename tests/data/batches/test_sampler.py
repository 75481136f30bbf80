import torch

from ssl_norm.data.batches.sampler import epoch_order, epochs_of_steps


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
