"""Properties of every logger in the registry, and of several together."""

from math import nan

import numpy as np
import pytest
import torch

from ssl_norm.errors import UserError
from ssl_norm.train.loggers import Logger, Loggers
from ssl_norm.train.registry import LOGGERS

ROW = {"step": 1, "epoch": 0.5, "loss": 0.25, "rank_me": nan, "verdict": "healthy"}


@pytest.mark.parametrize("name", LOGGERS)
def test_takes_everything_that_a_run_logs_also_after_a_resume(name, tmp_path):
    logger_class = LOGGERS.load(name)
    assert issubclass(logger_class, Logger)
    assert logger_class.__doc__
    for first_step in (0, 1):
        logger = logger_class(tmp_path, first_step)
        logger.row({**ROW, "step": first_step + 1})
        logger.scalars(1, {"top1": 0.5})
        logger.text("collapse/verdict", 1, "**healthy**")
        logger.image("views", None, np.zeros((4, 6, 3), np.uint8))
        logger.histogram("deviations", 1, np.array([0.2, 0.7]), np.array([0.0, 0.5, 1.0]))
        logger.hyperparameters({"method.name": "byol", "epochs": 2}, {"linear_top1": 0.5})
        logger.embeddings(torch.randn(4, 3), list("abab"), torch.zeros(4, 3, 8, 8).byte())
        logger.close()
    assert any(tmp_path.iterdir())


class Failing(Logger):
    """A logger whose service is not reachable."""

    def row(self, row):
        raise ConnectionError("no network")


class Listening(Logger):
    """A logger that records steps."""

    steps: list = []  # noqa: RUF012

    def row(self, row):
        self.steps.append(row["step"])


def test_a_logger_that_fails_is_omitted_and_the_others_continue(tmp_path, capsys):
    loggers = Loggers([f"{__name__}:Failing", f"{__name__}:Listening"], tmp_path, 0)
    for step in (1, 2):
        loggers.each(lambda logger, step=step: logger.row({**ROW, "step": step}))
    assert Listening.steps == [1, 2]
    message = "Failing' failed and is omitted: ConnectionError: no network"
    assert capsys.readouterr().err.count(message) == 1


def test_an_unknown_name_has_its_nearest():
    with pytest.raises(UserError, match=r"unknown logger 'tensorbord'.*did you mean 'tensorboard'"):
        Loggers(["tensorbord"], None, 0)
