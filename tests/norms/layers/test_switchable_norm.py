"""Switchable norm against a single norm if the mixture has one."""

import pytest
import torch

from ssl_norm.norms.layers.switchable_norm import SwitchableNorm
from tests.norms.test_contract import CHANNELS, build, data


@pytest.mark.parametrize(("place", "name"), [(0, "in"), (1, "ln"), (2, "bn")])
@pytest.mark.parametrize("training", [True, False])
def test_one_hot_mixture_is_that_norm(place, name, training):
    switch, norm = build("switch"), build(name)
    norm.load_state_dict(switch.state_dict(), strict=False)
    for logits in (switch.mean_logits, switch.variance_logits):
        torch.nn.init.constant_(logits, -1000)
        logits.data[place] = 0
    switch(data(5, CHANNELS, 3, 2, seed=1))
    norm(data(5, CHANNELS, 3, 2, seed=1))
    x = data(5, CHANNELS, 3, 2)
    torch.testing.assert_close(switch.train(training)(x), norm.train(training)(x))


def test_starts_with_equal_shares():
    layer = SwitchableNorm(6)
    assert torch.equal(layer.mean_logits, torch.zeros(3))
    assert torch.equal(layer.variance_logits, torch.zeros(3))


def test_ghost_batches_mix_their_own_statistics():
    x, whole = data(5, CHANNELS, 3, 2), build("switch")
    y = build("switch", batch_size=3)(x)
    torch.testing.assert_close(y, torch.cat([whole(x[:3]), whole(x[3:])]))
