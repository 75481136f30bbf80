import torch
from torch import Generator

from ssl_norm.data.augment.colour_steps import (
    HUE,
    ColourFactors,
    colour_steps,
    compose,
    sample_factors,
)


def sample(n, jitter=0.8, strengths=(0.4, 1.5, 0.2, 0.1), grey=0.2, seed=0):
    return sample_factors(n, jitter, strengths, grey, Generator().manual_seed(seed))


def test_factors_fill_their_ranges():
    values = sample(20_000, jitter=1.0).values
    low, high = torch.tensor([0.6, 0.0, 0.8, -0.1]), torch.tensor([1.4, 2.5, 1.2, 0.1])
    assert (values >= low - 1e-6).all()
    assert (values <= high + 1e-6).all()
    torch.testing.assert_close(values.mean(0), (low + high) / 2, atol=0.02, rtol=0)
    uniform_deviation = (high - low) / 12**0.5
    torch.testing.assert_close(values.std(0), uniform_deviation, atol=0, rtol=0.03)


def test_probabilities():
    factors = sample(20_000, jitter=0.3, grey=0.1)
    untouched = (factors.values == torch.tensor([1.0, 1.0, 1.0, 0.0])).all(1)
    assert abs(untouched.float().mean().item() - 0.7) < 0.02
    assert abs(factors.grey.mean().item() - 0.1) < 0.01


def test_every_order_is_as_likely():
    order = sample(24_000).order
    codes = (order * torch.tensor([64, 16, 4, 1])).sum(1)
    counts = codes.unique(return_counts=True)[1]
    assert len(counts) == 24
    assert counts.min() > 850
    assert counts.max() < 1150


def test_neutral_factors_change_nothing():
    factors = sample(5, jitter=0.0, grey=0.0)
    torch.testing.assert_close(
        colour_steps(factors), torch.eye(3).expand(5, 5, 2, 3, 3), atol=1e-6, rtol=0
    )


def test_steps_follow_the_order():
    values = torch.tensor([[0.5, 0.6, 0.7, 0.2]])
    forward = ColourFactors(values, torch.tensor([[0, 1, 2, 3]]), torch.zeros(1))
    turned = forward._replace(order=torch.tensor([[3, 2, 1, 0]]))
    assert torch.equal(colour_steps(forward)[:, :4], colour_steps(turned)[:, :4].flip(1))
    assert torch.equal(colour_steps(forward)[0, 0, 0], 0.5 * torch.eye(3))


def test_composition_is_first_step_first():
    steps = torch.rand(2, 3, 2, 3, 3)
    expected = steps[:, 2] @ steps[:, 1] @ steps[:, 0]
    torch.testing.assert_close(compose(steps), expected)


def test_grey_comes_last_and_leaves_no_colour():
    factors = sample(6, grey=1.0)
    maps = compose(colour_steps(factors))
    assert (maps - maps[:, :, :1]).abs().max() < 1e-6
    assert factors.order.max() == HUE
