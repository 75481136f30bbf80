import pytest
import torch

from ssl_norm.data.corruption.functions import strengths
from ssl_norm.data.corruption.spec import Corruption, parse_corruption
from ssl_norm.errors import UserError


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("contrast", Corruption("contrast", 5)),
        ("jpeg:3", Corruption("jpeg", 3)),
        ({"name": "gaussian_noise"}, Corruption("gaussian_noise", 5)),
        ({"name": "gaussian_blur", "severity": 1}, Corruption("gaussian_blur", 1)),
        (Corruption("jpeg", 2), Corruption("jpeg", 2)),
        ("clean", None),
        ({"name": "clean"}, None),
    ],
)
def test_settings_name_corruptions(spec, expected):
    assert parse_corruption(spec) == expected
    assert expected is None or parse_corruption(str(expected)) == expected


@strengths(1, 2, 3, 4, 5)
def darker(images, levels, generator):
    return images - levels


def test_a_function_of_any_module_is_a_corruption():
    name = f"{__name__}:darker"
    assert parse_corruption(name) == Corruption(name, 5)
    assert parse_corruption(f"{name}:2") == Corruption(name, 2)
    images = torch.full((1, 3, 2, 2), 9, dtype=torch.uint8)
    assert (Corruption(name, 2)(images, torch.Generator()) == 7).all()


def strengthless(images, strength, generator):
    return images


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gaussian_nose", "unknown corruption 'gaussian_nose'; known: clean, .*'gaussian_noise'?"),
        ("contrast:6", r"corruption contrast:6: its severity must be an integer in \[1, 5\]"),
        ("contrast:hard", "corruption contrast:hard: its severity must be"),
        ({"name": "contrast", "severity": 2.5}, "corruption contrast:2.5: its severity must be"),
        ({"name": "contrast", "strength": 1}, "a corruption has no option 'strength'; known"),
        ({"severity": 1}, "a corruption needs a name, one of contrast, "),
        ("clean:1", "corruption clean takes no severity"),
        (3, "corruption 3: expected a name, as contrast or contrast:3, or a mapping"),
        (None, "corruption None: expected a name"),
        ("no_such_module:fog", "corruption 'no_such_module:fog': there is no module"),
        (f"{__name__}:drker", "unknown object 'drker'.*did you mean 'darker'"),
        (f"{__name__}:strengthless", "is a function strengthless; a function decorated by"),
    ],
)
def test_bad_settings_are_said_in_one_line(spec, message):
    with pytest.raises(UserError, match=message) as error:
        parse_corruption(spec)(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), torch.Generator())
    assert "\n" not in str(error.value)
