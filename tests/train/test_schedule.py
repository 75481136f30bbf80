import math

import pytest

from ssl_norm.train.schedule import effective_learning_rate, learning_rate


def rates(schedule, steps=100, warmup_steps=10):
    return [
        learning_rate(step, peak=2.0, steps=steps, warmup_steps=warmup_steps, schedule=schedule)
        for step in range(steps)
    ]


def test_warm_up_rises_linearly_to_the_peak():
    rise = rates("cosine")[:11]
    assert rise == pytest.approx([2.0 * (step + 1) / 11 for step in range(11)])


def test_cosine_follows_the_formula_after_the_warm_up():
    for step, rate in enumerate(rates("cosine")):
        if step >= 10:
            assert rate == pytest.approx(2.0 * (1 + math.cos(math.pi * (step - 10) / 90)) / 2)


def test_constant_stays_at_the_peak():
    assert set(rates("constant")[10:]) == {2.0}


def test_warm_up_as_long_as_the_run_never_divides_by_zero():
    assert max(rates("cosine", steps=5, warmup_steps=5)) < 2.0


def test_rate_scales_with_the_images_of_a_step():
    assert effective_learning_rate(0.2, 4096) == pytest.approx(3.2)
