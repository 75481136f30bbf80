"""Declarations of monitors, and monitors from outside in a run, its files and its diagnosis."""

from math import isnan

import pytest
import torch

from ssl_norm.diagnosis.diagnosis import measure
from ssl_norm.monitors import MONITORS, CollapseMonitor, monitor
from ssl_norm.monitors.__main__ import monitor_table
from ssl_norm.monitors.declare import load_monitor
from ssl_norm.reporting.columns import columns
from ssl_norm.train.tensorboard import OTHER_MONITORS, layout

FACTS = {"inputs": "embeddings", "prepares": "nothing", "cost": "linear", "at_collapse": 1.0}
FACTS |= {"at_even": "1", "equation": "mean_n |z_n|", "source": "this test"}
FACTS |= {"chart": "dimensions in use", "label": "mean length"}


@monitor(**FACTS)
def mean_length(embeddings):
    return embeddings.norm(dim=1).mean().float()


@monitor(**FACTS | {"inputs": "pair", "chart": "", "label": ""})
def gap(online, target):
    return (online - target).norm(dim=1).mean()


def undeclared(embeddings):
    return embeddings.mean()


@pytest.fixture
def added(monkeypatch):
    """Register two monitors for one test."""
    monkeypatch.setattr(MONITORS, "_entries", dict(MONITORS._entries))
    MONITORS.register("mean_length", mean_length)
    MONITORS.register("gap", f"{__name__}:gap")


def pairs(step=0):
    online, target = 3 * torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(step))
    return [(online, target), (target, online)]


def test_a_run_measures_directions(added):
    run = CollapseMonitor(spectral_every=2)
    for step in (1, 2):
        run.observe(step, pairs())
    row = run.collect()
    assert list(row)[-2:] == ["mean_length", "gap"]
    assert row["mean_length"] == pytest.approx(1)
    online, target = (torch.nn.functional.normalize(z) for z in pairs()[0])
    assert row["gap"] == pytest.approx(gap(online, target).item())


def test_a_run_that_began_without_the_monitor_continues():
    begun = CollapseMonitor(spectral_every=5)
    begun.observe(1, pairs())
    state = begun.state_dict()
    del state["spectral"]["rank_me"]
    resumed = CollapseMonitor(spectral_every=5)
    resumed.load_state_dict(state)
    for step in range(2, 6):
        resumed.observe(step, pairs(step))
    assert isnan(resumed.collect()["rank_me"])
    resumed.observe(6, pairs(6))
    assert resumed.collect()["rank_me"] > 1


def test_the_monitor_is_in_every_output(added):
    assert columns()["mean_length"].heading == "mean length"
    assert "gap" not in columns()
    charts = layout(["rank_me", "mean_length", "gap"])["collapse"]
    assert "^collapse/mean_length$" in charts["dimensions in use"][1]
    assert OTHER_MONITORS in charts
    assert {"mean_length", "gap"} <= measure(torch.stack(pairs()[0])).keys()
    assert "mean_n |z_n|" in monitor_table()


def test_wrong_declarations_are_named():
    with pytest.raises(ValueError, match="declare in_runs=False"):
        monitor(**FACTS | {"inputs": "views"})
    with pytest.raises(ValueError, match=r"'.*:undeclared' is a function .* decorated by"):
        load_monitor(f"{__name__}:undeclared")
