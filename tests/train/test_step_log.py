import torch

from ssl_norm.train.step_log import StepLog


def test_means_are_those_since_the_last_call():
    log = StepLog()
    for value in (1.0, 2.0):
        log.add(1, 4, loss=torch.tensor(value), right=torch.tensor(value / 4))
    assert log.means() == {"loss": 1.5, "right": 0.375}
    log.add(1, 4, loss=torch.tensor(5.0))
    assert log.means() == {"loss": 5.0}
