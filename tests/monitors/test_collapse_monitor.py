import io
from functools import partial
from math import nan

import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ssl_norm.monitors import (
    CollapseMonitor,
    CollapseWatch,
    LayerMonitor,
    Thresholds,
    attach,
    collapse_monitor,
    covariance_spectrum,
    effective_rank,
    rank_me,
    std_per_dimension,
)
from ssl_norm.monitors.normalized import directions
from ssl_norm.monitors.spectral import spectral_monitors
from tests.monitors.samples import STREAMED, streamed, streamed_means


def healthy(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(2, 8, 4, generator=generator))


def collapsed(seed=0):
    return tuple(1 + 1e-3 * view for view in healthy(seed))


def watched(pairs, **options):
    """Return a monitor that has observed one pair a step, and collected them."""
    monitor = CollapseMonitor(**options)
    for step, pair in enumerate(pairs, start=1):
        monitor.observe(step, [pair])
    monitor.collect()
    return monitor


def test_steps_inside_and_outside_of_inference_mode_give_the_same_values():
    pairs = [healthy(seed) for seed in range(3)]
    monitor = CollapseMonitor()
    for step, pair in enumerate(pairs, start=1):
        with torch.inference_mode(step != 2):
            monitor.observe(step, [tuple(view.clone() for view in pair)])
    assert monitor.collect() == pytest.approx(watched(pairs).collect(), nan_ok=True)


def test_means_since_the_last_collect():
    monitor = CollapseMonitor()
    steps = [(healthy(2 * step), healthy(2 * step + 1)) for step in range(5)]
    for part in (steps[:3], steps[3:]):
        for step, pairs in enumerate(part, start=1):
            monitor.observe(step, pairs)
            monitor.state_dict()  # changes nothing
        for _ in range(2):
            assert streamed(monitor.collect()) == pytest.approx(streamed_means(part))


def test_a_loop_that_never_collects_has_a_verdict_and_bounded_memory(monkeypatch):
    monkeypatch.setattr(collapse_monitor, "_STEPS_ON_DEVICE", 3)
    monitor = CollapseMonitor(patience=2)
    for step in range(1, 4):
        monitor.observe(step, [collapsed(step)])
    assert (monitor.verdict, monitor.collapsed_at_step) == ("complete", 1)
    assert not monitor._on_device


def test_nothing_observed():
    monitor = CollapseMonitor()
    assert monitor.collect() == {}
    assert (monitor.verdict, monitor.collapsed_at_step) == ("uncertain", None)
    assert monitor.evidence == "nothing was measured yet"


def test_collapse_is_seen_whenever_it_is_collected():
    for every in (1, 3, 100):
        monitor = CollapseMonitor(patience=4)
        for step in range(1, 13):
            monitor.observe(step, [collapsed(step) if step > 5 else healthy(step)])
            if step % every == 0:
                monitor.collect()
        monitor.collect()
        assert (monitor.verdict, monitor.collapsed_at_step) == ("complete", 6)


@pytest.mark.parametrize(("value", "verdict"), [(0.0, "complete"), (nan, "uncertain")])
def test_embeddings_without_direction(value, verdict):
    assert watched([(torch.full((8, 4), value),) * 2], patience=1).verdict == verdict


def test_leaves_the_graph_and_the_embeddings_alone():
    online, target = (view.requires_grad_() for view in healthy())
    before = online.detach().clone()
    monitor = CollapseMonitor()
    monitor.observe(1, [(online, target)])
    assert torch.equal(online, before)
    assert online.grad_fn is None
    assert not any(value.requires_grad for _, value, _ in monitor._on_device)


@pytest.mark.parametrize("stop", range(1, 12))
def test_a_resumed_run_goes_on_exactly(stop):
    def pairs(step):
        return [collapsed(step) if 3 <= step < 9 else healthy(step)]

    def run(monitor, steps, rows):
        for step in steps:
            monitor.observe(step, pairs(step))
            if step % 4 == 0:
                rows.append((monitor.collect(), monitor.verdict, monitor.evidence))
        saved = io.BytesIO()
        torch.save(monitor.state_dict(), saved)
        saved.seek(0)
        return torch.load(saved, weights_only=True), monitor.take_snapshots()

    options = {"patience": 3, "spectral_every": 3, "buffer_size": 20}
    whole, resumed = [], []
    _, snapshots = run(CollapseMonitor(**options), range(1, 13), whole)
    saved, before = run(CollapseMonitor(**options), range(1, stop + 1), resumed)
    again = CollapseMonitor(**options)
    again.load_state_dict(saved)
    _, after = run(again, range(stop + 1, 13), resumed)
    assert repr(resumed) == repr(whole)
    assert before + after == snapshots


def test_spectrum_of_the_latest_embeddings():
    steps = [healthy(step) for step in range(6)]
    monitor = watched(steps, spectral_every=3, buffer_size=20)
    row = monitor.collect()
    assert tuple(row) == (*STREAMED, *spectral_monitors())
    snapshots = monitor.take_snapshots()
    assert [snapshot.step for snapshot in snapshots] == [1, 4]
    latest = directions(torch.cat([online for online, _ in steps[:4]])[-20:])
    assert row["rank_me"] == pytest.approx(rank_me(latest).item())
    assert row["effective_rank"] == pytest.approx(effective_rank(latest).item())
    assert snapshots[1].spectrum == pytest.approx(covariance_spectrum(latest).tolist())
    assert snapshots[1].deviations == pytest.approx(std_per_dimension(latest).tolist())
    assert monitor.take_snapshots() == []


def test_the_evidence_is_of_steps_in_the_zone_of_the_verdict():
    steps = [
        *map(healthy, range(1, 21)),
        *[collapsed()] * 10,
    ]  # the means over these are in no zone
    monitor = watched(steps, patience=3)
    assert monitor.verdict == "complete"
    assert monitor.evidence.startswith("negative cosine 1.0000, above 0.99, and feature std 0.000")
    monitor.observe(31, [healthy(31)])
    monitor.collect()
    assert monitor.evidence.startswith("negative cosine 1.0000, above 0.99, and feature std 0.000")
    assert monitor.evidence.endswith("healthy for the last 1 step, and a verdict takes 3")
    resumed = CollapseMonitor(patience=3)
    resumed.load_state_dict(monitor.state_dict())
    assert resumed.evidence == monitor.evidence


class RefuseTransfers(TorchDispatchMode):
    """Fails if a tensor is copied to another device, for which one device waits."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, torch.Tensor)]
        assert {x.device.type for x in tensors} <= {"cuda"}, function
        return result


@pytest.mark.parametrize("loss", [True, False])
def test_ordinary_steps_do_not_wait_for_the_device(loss):
    with FakeTensorMode():  # shapes and devices without data: reading a value fails
        online, target, value = (z.cuda() for z in (*healthy(), torch.tensor(1.0)))
        monitor = CollapseMonitor(spectral_every=10)
        monitor.observe(1, [(online, target)], value)
        with RefuseTransfers():
            monitor.observe(2, [(online, target), (target, online)], value if loss else None)


def test_snapshots_and_layer_rows_that_nobody_takes_are_bounded(monkeypatch):
    for name in ("_SNAPSHOTS_KEPT", "_LAYER_ROWS_KEPT"):
        monkeypatch.setattr(collapse_monitor, name, 3)
    network = nn.Linear(4, 4)
    layers = LayerMonitor({"linear": network}, every=1)
    steps = (tuple(network(view) for view in healthy(step)) for step in range(1, 8))
    monitor = watched(steps, spectral_every=1, layers=layers)
    for take in (monitor.take_snapshots, monitor.take_layer_rows):
        assert [one.step for one in take()] == [5, 6, 7]
        assert take() == []


def test_a_spectrum_of_nan_leaves_the_verdict_to_the_one_before():
    basis = torch.randn(1, 64, generator=torch.Generator().manual_seed(0))
    monitor = CollapseMonitor(patience=2, spectral_every=5, buffer_size=64)
    for step in range(1, 21):
        weights = torch.randn(64, 1, generator=torch.Generator().manual_seed(step))
        line = weights * basis * (torch.nan if step == 9 else 1.0)
        monitor.observe(step, [(line, line)])
        row = monitor.collect()
        assert monitor.verdict == ("uncertain" if step == 1 else "dimensional"), step
    assert row["effective_rank"] == pytest.approx(1)


def test_a_verdict_is_settled_while_the_latest_steps_agree_with_it():
    monitor = CollapseMonitor(patience=3)
    settled = []
    for step in range(1, 9):
        monitor.observe(step, [healthy(step) if step < 5 else collapsed()])
        monitor.collect()
        settled.append((monitor.verdict, monitor.is_settled))
    assert settled[3] == ("healthy", True)
    assert settled[4:] == [("healthy", False)] * 2 + [("complete", True)] * 2


def test_one_low_rank_alone_is_an_accident():
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(2, 128, generator=generator)
    monitor = CollapseMonitor(patience=1, spectral_every=1, buffer_size=256)

    def observe(step, narrow):
        views = torch.randn(2, 256, 128, generator=generator)
        online, target = views[..., :2] @ basis if narrow else views
        monitor.observe(step, [(online, target)])
        monitor.collect()
        return monitor.verdict

    marks = [False, True, False, True, True]
    verdicts = [observe(step, narrow) for step, narrow in enumerate(marks, start=1)]
    assert verdicts == ["healthy"] * 4 + ["dimensional"]


def slowly_collapsing(step):
    """Return two views whose negative cosine rises exponentially from 0.6 or so."""
    generator = torch.Generator().manual_seed(step)
    images, first, second = torch.randn(3, 64, 32, generator=generator)
    spread = torch.exp(torch.tensor(-step / 400))
    return tuple(1.2 + spread * (images + 0.3 * noise) for noise in (first, second))


@pytest.mark.parametrize("every", [1, 10, 200])
def test_a_slow_collapse_has_a_forecast_however_often_it_is_collected(every):
    monitor, resumed = CollapseMonitor(spectral_every=100), CollapseMonitor(spectral_every=100)
    for step in range(1, 201):
        monitor.observe(step, [slowly_collapsing(step)])
        if step % every == 0:
            monitor.collect()
        if step == 130:
            resumed.load_state_dict(monitor.state_dict())
        if step > 130:
            resumed.observe(step, [slowly_collapsing(step)])
    assert (monitor.verdict, monitor.collapsed_at_step) == ("collapsing", None)
    assert "per 100 steps: complete at about step " in monitor.evidence
    resumed.collect()
    assert resumed.verdict == monitor.verdict
    assert resumed.evidence.rpartition("; ")[2] == monitor.evidence.rpartition("; ")[2]


@pytest.mark.parametrize("last", [59, 10**6])
def test_steps_that_start_again_in_every_epoch_go_on(last):
    whole, parts = CollapseMonitor(patience=4), CollapseMonitor(patience=4)
    for step in range(120):
        views = [slowly_collapsing(step)]
        whole.observe(step if step < 59 else last + step - 59, views)
        parts.observe(step if step < 59 else last if step == 59 else step - 60, views)
        if step == 90:
            state, parts = parts.state_dict(), CollapseMonitor(patience=4)
            parts.load_state_dict(state)
    assert parts.collect() == pytest.approx(whole.collect(), abs=1e-9)
    assert (parts.verdict, parts.evidence) == (whole.verdict, whole.evidence)
    assert last > 59 or whole.verdict == "collapsing"


def test_layers_are_measured_when_steps_start_again():
    encoder = nn.Sequential(nn.Linear(4, 4))
    monitor = CollapseMonitor(layers=LayerMonitor({"0": encoder[0]}, every=8))
    for step in range(10):
        views = [encoder(view) for view in torch.randn(2, 8, 4)]
        monitor.observe(step % 5 + 1, [views])
    assert {row.step for row in monitor.take_layer_rows()} == {1, 2, 4, 8}


def test_states_without_a_trend_are_resumed():
    state = watched([collapsed(step) for step in range(3)], patience=2).state_dict()
    for name in ("trend", "constants", "pinned"):
        del state[name]
    state["judged"] = [entry[:3] for entry in state["judged"]]
    monitor = CollapseMonitor(patience=2)
    monitor.load_state_dict(state)
    assert monitor.verdict == "complete"
    monitor.observe(4, [collapsed(4)])
    assert monitor.collect()["negative_cosine"] > 0.99


def test_a_broken_row_beside_equal_ones_is_a_collapse_and_told():
    rows = torch.ones(64, 8)
    rows[3] = nan
    monitor = watched([(rows, rows)] * 3, patience=2)
    assert monitor.verdict == "complete"
    assert "1.6% of the rows hold NaN or infinity and are left out" in monitor.evidence


def test_a_loss_at_ln_n_is_named():
    monitor = CollapseMonitor(Thresholds(pinned_steps=5))
    for step in range(1, 7):
        monitor.observe(step, [healthy(step)], 2.08)
    monitor.collect()
    assert monitor.evidence.endswith("loss has been within 1% of ln N = 2.079 for 6 steps")


@pytest.mark.parametrize(
    ("make", "option", "least"),
    [
        (CollapseMonitor, "patience", 1),
        (CollapseMonitor, "spectral_every", 1),
        (CollapseMonitor, "buffer_size", 2),
        (partial(LayerMonitor, {}), "every", 1),
        (CollapseWatch, "layers_every", 1),
        (partial(attach, nn.Linear(2, 2), None), "log_every", 1),
    ],
)
def test_too_small_numbers_are_refused(make, option, least):
    with pytest.raises(ValueError, match=f"{option} must be at least {least}, got {least - 1}"):
        make(**{option: least - 1})
