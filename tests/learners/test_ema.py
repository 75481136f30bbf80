import math

import pytest
import torch
from torch import nn

from ssl_norm.learners.ema import EmaTarget, cosine_decay, move_towards
from ssl_norm.norms.batch.freezing import freeze_statistics


def network():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def target_of(online, decay=0.9, schedule="constant", ema_buffers=False):
    return EmaTarget([online], decay=decay, schedule=schedule, ema_buffers=ema_buffers)


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_cosine_decay():
    assert cosine_decay(0.996, 0.0) == pytest.approx(0.996, abs=1e-15)
    assert cosine_decay(0.996, 0.5) == pytest.approx(0.998, abs=1e-15)
    assert cosine_decay(0.996, 1.0) == 1.0
    k, K = 3, 7
    expected = 1 - (1 - 0.9) * (math.cos(math.pi * k / K) + 1) / 2
    assert cosine_decay(0.9, k / K) == pytest.approx(expected, abs=1e-15)


def test_move_towards():
    target = [torch.tensor([1.0, 2.0]), torch.tensor(3)]
    move_towards(target, [torch.tensor([5.0, 2.0]), torch.tensor(8)], 0.75)
    assert torch.equal(target[0], torch.tensor([2.0, 2.0]))
    assert target[1] == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decay": 1.5}, r"ema_decay must be in \[0, 1\], got 1.5"),
        ({"schedule": "cosin"}, "unknown ema_schedule 'cosin'.*did you mean 'cosine'"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        target_of(network(), **options)


def test_follows_per_step():
    online = network().double()
    target = target_of(online, decay=0.9, schedule="cosine")
    expected = {name: value.clone() for name, value in online.named_parameters()}
    for step in range(1, 6):
        with torch.no_grad():
            for parameter in online.parameters():
                parameter.add_(torch.randn_like(parameter))
        target.follow([online], step / 5)
        decay = cosine_decay(0.9, step / 5)
        for name, parameter in online.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * parameter.detach()
    for name, parameter in target[0].named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[name], rtol=1e-12, atol=1e-14)


def test_is_a_copy_without_gradients():
    online = network()
    target = target_of(online)
    assert not any(p.requires_grad for p in target.parameters())
    assert all(p.requires_grad for p in online.parameters())
    assert all(a is not b for a, b in zip(target.parameters(), online.parameters(), strict=True))
    assert not target(torch.randn(4, 3, requires_grad=True)).requires_grad


def test_buffers_follow_by_option_not_as_published():
    online = network()
    target = target_of(online)
    online(torch.randn(8, 3))
    target.follow([online], 0.0)
    assert torch.equal(target[0][1].running_mean, torch.zeros(4))
    online = network()
    target = target_of(online, decay=0.75, ema_buffers=True)
    before = state(target)
    target(torch.randn(8, 3))
    assert all(torch.equal(before[name], value) for name, value in target.state_dict().items())
    online(torch.randn(8, 3))
    target.follow([online], 0.0)
    torch.testing.assert_close(target[0][1].running_mean, 0.25 * online[1].running_mean)
    torch.testing.assert_close(target[0][1].running_var, 0.75 + 0.25 * online[1].running_var)
    assert target[0][1].num_batches_tracked == 1


def test_frozen_statistics_do_not_follow():
    online = network()
    target = target_of(online, decay=0.75, ema_buffers=True)
    online(torch.randn(8, 3))
    freeze_statistics(target)
    nn.init.normal_(online[0].weight)
    target.follow([online], 0.0)
    assert torch.equal(target[0][1].running_mean, torch.zeros(4))
    assert torch.equal(target[0][1].running_var, torch.ones(4))
    assert target[0][1].num_batches_tracked == 0
    assert not torch.equal(target[0][0].weight, online[0].weight)


def test_uses_batch_statistics_in_training_and_its_own_in_evaluation():
    online = network()
    target = target_of(online)
    x = torch.randn(64, 3)
    out = target(x)
    torch.testing.assert_close(out.mean(0), torch.zeros(4), rtol=0, atol=1e-6)
    assert not torch.equal(target[0][1].running_mean, online[1].running_mean)
    before = state(target)
    target.eval()(x)
    assert all(torch.equal(before[name], value) for name, value in target.state_dict().items())
