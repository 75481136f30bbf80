import pytest
import torch

from ssl_norm.errors import NonFiniteLoss
from ssl_norm.train.step_log import StepLog


def test_means_are_those_since_the_last_call():
    log = StepLog()
    for value in (1.0, 2.0):
        log.add(4, loss=torch.tensor(value), right=torch.tensor(value / 4))
    assert log.means(2) == {"loss": 1.5, "right": 0.375}
    log.add(4, loss=torch.tensor(5.0))
    assert log.means(3) == {"loss": 5.0}


def test_the_first_loss_that_is_not_finite_is_named_by_its_step():
    log = StepLog(batches_per_step=2)
    for value in (1.0, 1.0, 1.0, torch.inf, torch.nan, 1.0):
        log.add(1, loss=torch.tensor(value))
    with pytest.raises(NonFiniteLoss, match="became inf at step 12"):
        log.means(13)
