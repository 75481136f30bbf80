import json
from math import nan

import pytest
import torch

from ssl_norm.monitors import CollapseMonitor, feature_std, positive_negative_cosine


def healthy(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(2, 8, 4, generator=generator))


def collapsed(seed=0):
    return tuple(1 + 1e-3 * view for view in healthy(seed))


def expected(pairs_of_steps):
    """Mean over steps of the mean over pairs, by the functions themselves."""
    rows = [
        torch.stack([*positive_negative_cosine(*pair), feature_std(pair[0])])
        for pairs in pairs_of_steps
        for pair in pairs
    ]
    means = torch.stack(rows).mean(0).tolist()
    return dict(zip(("positive_cosine", "negative_cosine", "feature_std"), means, strict=True))


def test_means_since_the_last_collect():
    monitor = CollapseMonitor()
    steps = [(healthy(2 * step), healthy(2 * step + 1)) for step in range(5)]
    for step, pairs in enumerate(steps[:3], start=1):
        monitor.observe(step, pairs)
    assert monitor.collect() == pytest.approx(expected(steps[:3]))
    for step, pairs in enumerate(steps[3:], start=4):
        monitor.observe(step, pairs)
    assert monitor.collect() == pytest.approx(expected(steps[3:]))
    assert monitor.collect() == pytest.approx(expected(steps[3:]))


def test_nothing_observed():
    monitor = CollapseMonitor()
    assert monitor.collect() == {}
    assert (monitor.verdict, monitor.collapsed_at_step) == ("healthy", None)


def test_collapse_is_seen_whenever_it_is_collected():
    for every in (1, 3, 100):
        monitor = CollapseMonitor(patience=4)
        for step in range(1, 13):
            monitor.observe(step, [collapsed(step) if step > 5 else healthy(step)])
            if step % every == 0:
                monitor.collect()
        monitor.collect()
        assert (monitor.verdict, monitor.collapsed_at_step) == ("complete", 6)


def test_recovery():
    monitor = CollapseMonitor(patience=2)
    for step, pair in enumerate([collapsed(), collapsed(), healthy(), healthy()], start=1):
        monitor.observe(step, [pair])
    monitor.collect()
    assert (monitor.verdict, monitor.collapsed_at_step) == ("healthy", None)


def test_threshold():
    online, target = healthy()
    negative = positive_negative_cosine(online, target)[1].item()
    for threshold, verdict in ((negative - 1e-9, "complete"), (negative + 1e-9, "healthy")):
        monitor = CollapseMonitor(threshold=threshold, patience=1)
        monitor.observe(1, [(online, target)])
        monitor.collect()
        assert monitor.verdict == verdict


@pytest.mark.parametrize(("value", "verdict"), [(0.0, "complete"), (nan, "healthy")])
def test_embeddings_without_direction(value, verdict):
    monitor = CollapseMonitor(patience=1)
    monitor.observe(1, [(torch.full((8, 4), value), torch.full((8, 4), value))])
    monitor.collect()
    assert monitor.verdict == verdict


def test_leaves_the_graph_and_the_embeddings_alone():
    online, target = (view.requires_grad_() for view in healthy())
    before = online.detach().clone()
    monitor = CollapseMonitor()
    monitor.observe(1, [(online, target)])
    assert torch.equal(online, before)
    assert online.grad_fn is None
    assert not any(value.requires_grad for _, value in monitor._on_device)


def test_observing_under_autocast_keeps_its_precision():
    pair = collapsed()
    plain, mixed = CollapseMonitor(), CollapseMonitor()
    plain.observe(1, [pair])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed.observe(1, [pair])
    assert mixed.collect() == plain.collect()


@pytest.mark.parametrize("stop", range(1, 12))
def test_a_resumed_run_goes_on_exactly(stop):
    def pairs(step):
        return [collapsed(step) if 3 <= step < 9 else healthy(step)]

    def run(monitor, steps):
        rows = []
        for step in steps:
            monitor.observe(step, pairs(step))
            if step % 4 == 0:
                rows.append((monitor.collect(), monitor.verdict, monitor.collapsed_at_step))
        return rows

    whole = run(CollapseMonitor(patience=3), range(1, 13))
    first, second = CollapseMonitor(patience=3), CollapseMonitor(patience=3)
    rows = run(first, range(1, stop + 1))
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert rows + run(second, range(stop + 1, 13)) == whole


def test_saving_does_not_change_the_run():
    monitor = CollapseMonitor()
    monitor.observe(1, [healthy(1)])
    monitor.state_dict()
    monitor.observe(2, [healthy(2)])
    assert monitor.collect() == pytest.approx(expected([[healthy(1)], [healthy(2)]]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.0}, r"threshold must be a cosine in \[-1, 1\), got 1.0"),
        ({"threshold": -2}, "threshold must be a cosine"),
        ({"patience": 0}, "patience must be at least 1 step, got 0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        CollapseMonitor(**options)


def test_wrong_shape_is_named():
    with pytest.raises(ValueError, match=r"online must have shape \(N >= 2, D\), got \(1, 4\)"):
        CollapseMonitor().observe(1, [(torch.ones(1, 4), torch.ones(1, 4))])
