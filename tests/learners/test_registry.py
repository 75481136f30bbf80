import inspect

import pytest
from torch import nn

from ssl_norm.config import ByolConfig, MocoV2Config, SimclrConfig
from ssl_norm.learners import METHODS
from ssl_norm.learners.learner import Learner


@pytest.mark.parametrize("name", METHODS)
def test_entry_tells_the_truth(name):
    entry = METHODS[name]
    learner_class = entry.load()
    options = inspect.signature(learner_class).parameters
    assert issubclass(learner_class, Learner)
    assert list(options)[:2] == ["encoder", "projector"]
    assert ("predictor" in options) == entry.predictor
    assert ("queue_size" in options) == entry.queue


@pytest.mark.parametrize("config", [ByolConfig(), SimclrConfig(), MocoV2Config()])
def test_defaults_are_those_of_the_configuration(config):
    options = inspect.signature(METHODS[config.name].load()).parameters
    for name, option in options.items():
        if option.default not in (inspect.Parameter.empty, None) and name != "view_statistics":
            assert getattr(config, name) == option.default


def test_base_class_leaves_forward_to_the_learner():
    learner = Learner()
    assert isinstance(learner, nn.Module)
    with pytest.raises(NotImplementedError):
        learner(None, None)
