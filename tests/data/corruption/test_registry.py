import inspect
from importlib import import_module

import pytest

from ssl_norm.data.corruption.registry import CORRUPTIONS


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_entries_name_functions_of_images_strength_and_generator(name):
    module, _, function = CORRUPTIONS[name].target.partition(":")
    parameters = inspect.signature(getattr(import_module(module), function)).parameters
    assert (*parameters,)[::2] == ("images", "generator")
    assert len(parameters) == 3


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_there_are_five_strengths_in_order(name):
    strengths = CORRUPTIONS[name].strengths
    assert len(strengths) == 5
    assert strengths in (tuple(sorted(strengths)), tuple(sorted(strengths, reverse=True)))
