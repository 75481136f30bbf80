import inspect

import pytest
from torch import nn

from ssl_norm.learners import METHODS
from ssl_norm.learners.learner import Learner
from ssl_norm.settings.method import method_model


@pytest.mark.parametrize(
    "config", [method_model("byol")(), method_model("simclr")(), method_model("moco_v2")()]
)
def test_defaults_are_those_of_the_configuration(config):
    options = inspect.signature(METHODS.load(config.name)).parameters
    for name, option in options.items():
        if option.default not in (inspect.Parameter.empty, None) and name != "view_statistics":
            assert getattr(config, name) == option.default


def test_base_class_leaves_forward_to_the_learner():
    learner = Learner()
    assert isinstance(learner, nn.Module)
    with pytest.raises(NotImplementedError):
        learner(None, None)
