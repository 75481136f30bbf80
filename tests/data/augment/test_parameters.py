from pathlib import Path

import pytest
from omegaconf import OmegaConf
from pydantic import ValidationError

from ssl_norm.data.augment.parameters import ViewParameters, check_normalisation
from ssl_norm.errors import UserError
from ssl_norm.option_errors import line_of
from ssl_norm.settings.pretrain import AugmentSettings

PRESETS = sorted((Path(__file__).parents[3] / "configs" / "augment").glob("*.yaml"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flip": 1.5}, "flip=1.5: a number in [0, 1] expected"),
        ({"crop_area": (1.0, 0.2)}, "crop_area: [low, high] with low <= high expected, got [1.0"),
        ({"crop_area": (0.2, 1.2)}, "crop_area[1]=1.2: a number in (0, 1]"),
        ({"extra": [{"degrees": 10}]}, "extra[0]: a kornia operation expected, such as"),
    ],
)
def test_bad_values(change, message):
    with pytest.raises(ValidationError) as caught:
        ViewParameters(**change)
    assert line_of(caught.value, ViewParameters).startswith(message)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ((0.5,), (0.2,) * 3, r"augment\.mean: three values in \[0, 1\] expected, got \[0.5\]"),
        ((0.5,) * 3, (0.2, 0.0, 0.2), r"augment\.std: three values in \(0, 1\]"),
        ((127.0,) * 3, (0.2,) * 3, r"augment\.mean: three values in .*127.0"),
    ],
)
def test_bad_normalisation(mean, std, message):
    with pytest.raises(UserError, match=message):
        check_normalisation(mean, std)


def load(path):
    """Return a preset on top of the presets that its list of defaults names."""
    preset = OmegaConf.load(path)
    bases = [base for base in preset.pop("defaults", []) if base != "_self_"]
    return OmegaConf.merge(*(load(path.with_name(f"{base}.yaml")) for base in bases), preset)


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_presets_fit_the_settings_and_hold_differences_only(path):
    preset, defaults = OmegaConf.to_container(load(path)), AugmentSettings().model_dump()
    AugmentSettings(**preset)
    for name in {"mean", "std"} & set(preset):
        assert tuple(preset[name]) != defaults[name], f"{name} is the default"
    for view in ("view1", "view2"):
        for name, value in preset[view].items():
            assert value != defaults[view][name], f"{view}.{name} is the default"
