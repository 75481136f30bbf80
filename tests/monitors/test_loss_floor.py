from math import log

import pytest
import torch

from ssl_norm.losses import info_nce, nt_xent, regression_loss
from ssl_norm.monitors import loss_at_collapse


def constant(count):
    return torch.tensor([[0.3, -2.0, 5.0]], dtype=torch.float64).repeat(count, 1)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_equals_the_losses_of_a_constant(temperature):
    z = constant(7)
    assert regression_loss(z, z).item() == pytest.approx(loss_at_collapse("byol"), abs=1e-15)
    at_collapse = loss_at_collapse("simclr", batch_size=7)
    assert nt_xent(z, z, temperature).item() == pytest.approx(at_collapse)
    at_collapse = loss_at_collapse("moco_v2", queue_size=20)
    assert info_nce(z, z, constant(20), temperature).item() == pytest.approx(at_collapse)


def test_known_values():
    assert loss_at_collapse("simsiam") == -1
    assert loss_at_collapse("simclr", batch_size=128) == log(255)
    assert loss_at_collapse("moco_v2", queue_size=65536) == log(65537)
    assert loss_at_collapse("moco_v2", queue_size=3, symmetric=True) == 2 * log(4)
    assert loss_at_collapse("swav", prototypes=512) == pytest.approx(6.238, abs=5e-4)


def test_sizes_that_do_not_matter_are_not_looked_at():
    assert loss_at_collapse("byol", batch_size=0, queue_size=-1) == 0
    assert loss_at_collapse("simclr", batch_size=2, prototypes=0) == log(3)


@pytest.mark.parametrize(
    ("method", "sizes", "message"),
    [
        ("simcrl", {}, "unknown method 'simcrl'; .*did you mean 'simclr'"),
        ("simclr", {}, "loss of simclr at collapse needs batch_size of at least 1, got None"),
        ("moco_v2", {"queue_size": 0}, "loss of moco_v2 .* needs queue_size of at least 1, got 0"),
        ("swav", {"batch_size": 8}, "loss of swav at collapse needs prototypes"),
    ],
)
def test_bad_arguments(method, sizes, message):
    with pytest.raises(ValueError, match=message):
        loss_at_collapse(method, **sizes)
