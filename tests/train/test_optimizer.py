import math

import pytest
import torch
from torch import nn

from ssl_norm.settings.pretrain import PretrainOptimizer
from ssl_norm.train.builder import optimizer_of
from ssl_norm.train.optimizer import (
    effective_learning_rate,
    learning_rate,
    make_optimizer,
    parameter_groups,
)

SETTINGS = {
    "lr": 0.1,
    "momentum": 0.9,
    "weight_decay": 0.01,
    "betas": (0.9, 0.999),
    "lars_eta": 1e-3,
}


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


@pytest.mark.parametrize("exclude", [False, True])
def test_every_trained_parameter_is_in_exactly_one_group(exclude):
    model = network()
    model[0].requires_grad_(False)
    groups = parameter_groups(model, 0.01, exclude)
    found = [id(p) for group in groups for p in group["params"]]
    assert sorted(found) == sorted(id(p) for p in model.parameters() if p.requires_grad)


def test_exclusion_takes_norms_and_biases_out_of_weight_decay():
    decayed, excluded = parameter_groups(network(), 0.01, exclude_norm_and_bias=True)
    assert all(p.ndim > 1 for p in decayed["params"])
    assert all(p.ndim == 1 for p in excluded["params"])
    assert (decayed["weight_decay"], excluded["weight_decay"]) == (0.01, 0.0)


@pytest.mark.parametrize("eta", [1e-3, 0.02])
def test_lars_step_equals_the_paper(eta):
    """First step: w - lr (eta |w| / |g + wd w|) (g + wd w); w - lr g for excluded ones."""
    model = network().double()
    settings = PretrainOptimizer(
        name="lars", lars_eta=eta, weight_decay=0.01, exclude_norm_and_bias=True
    )
    optimizer = optimizer_of(settings, model)
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    model(torch.randn(5, 3, 3, 3, dtype=torch.double)).square().sum().backward()
    expected = []
    for parameter in model.parameters():
        w, g = parameter.detach().clone(), parameter.grad.clone()
        if w.ndim < 2:
            expected.append(w - 0.1 * g)
            continue
        local = eta * w.norm() / (g.norm() + 0.01 * w.norm() + 1e-8)
        expected.append(w - 0.1 * local * (g + 0.01 * w))
    optimizer.step()
    for parameter, value in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.detach(), value)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [("sgd", "momentum", 0.5), ("lars", "momentum", 0.5), ("adamw", "betas", (0.8, 0.95))],
)
def test_an_optimizer_has_the_options_of_the_settings(name, option, value):
    options = {**SETTINGS, option: value}
    optimizer = make_optimizer(network(), name, exclude_norm_and_bias=True, **options)
    assert [group[option] for group in optimizer.param_groups] == [value] * 2


@pytest.mark.parametrize("name", ["sgd", "lars", "adamw"])
@pytest.mark.parametrize("exclude", [False, True])
def test_state_dict_survives_a_round_trip(name, exclude):
    model = network()
    optimizer = make_optimizer(model, name, exclude_norm_and_bias=exclude, **SETTINGS)
    model(torch.randn(5, 3, 3, 3)).square().sum().backward()
    optimizer.step()
    other = make_optimizer(model, name, exclude_norm_and_bias=exclude, **SETTINGS)
    other.load_state_dict(optimizer.state_dict())
    for mine, theirs in zip(optimizer.state.values(), other.state.values(), strict=True):
        for key, value in mine.items():
            if isinstance(value, torch.Tensor):
                torch.testing.assert_close(theirs[key], value)


def rates(schedule, steps=100, warmup_steps=10):
    return [
        learning_rate(step, peak=2.0, steps=steps, warmup_steps=warmup_steps, schedule=schedule)
        for step in range(steps)
    ]


def test_the_rate_rises_linearly_to_the_peak_and_follows_the_schedule():
    rise = [2.0 * (step + 1) / 11 for step in range(10)]
    cosine = [2.0 * (1 + math.cos(math.pi * step / 90)) / 2 for step in range(90)]
    assert rates("cosine") == pytest.approx([*rise, *cosine])
    assert rates("constant") == pytest.approx([*rise, *[2.0] * 90])
    assert max(rates("cosine", steps=5, warmup_steps=5)) < 2.0


def test_rate_scales_with_the_images_of_a_step():
    assert effective_learning_rate(0.2, 4096) == pytest.approx(3.2)
