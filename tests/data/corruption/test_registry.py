import inspect

import pytest
import torch

from ssl_norm.data.corruption.functions import strengths
from ssl_norm.data.corruption.spec import CORRUPTIONS, Corruption, parse_corruption
from ssl_norm.errors import UserError


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruptions_declare_five_strengths_in_order(name):
    function = CORRUPTIONS.load(name)
    parameters = inspect.signature(function).parameters
    assert (*parameters,)[::2] == ("images", "generator")
    assert len(parameters) == 3
    values = function.strengths
    assert len(values) == 5
    assert values in (tuple(sorted(values)), tuple(sorted(values, reverse=True)))


@strengths(1, 2, 3, 4, 5)
def darker(images, levels, generator):
    return images - levels


def test_a_function_of_any_module_is_a_corruption():
    name = f"{__name__}:darker"
    assert parse_corruption(name) == Corruption(name, 5)
    assert parse_corruption(f"{name}:2") == Corruption(name, 2)
    images = torch.full((1, 3, 2, 2), 9, dtype=torch.uint8)
    assert (Corruption(name, 2)(images, torch.Generator()) == 7).all()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:fog", "corruption 'no_such_module:fog': there is no module"),
        (f"{__name__}:drker", "unknown object 'drker'.*did you mean 'darker'"),
        (f"{__name__}:strengthless", "has 0 strengths; decorate it"),
    ],
)
def test_a_wrong_function_is_one_clear_line(name, message):
    with pytest.raises(UserError, match=message):
        Corruption(name)(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), torch.Generator())


def strengthless(images, strength, generator):
    return images
