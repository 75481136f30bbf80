import subprocess
import sys
from dataclasses import asdict, fields
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from ssl_norm.config import AugmentConfig, ViewConfig
from ssl_norm.data.augment import ViewParameters, check_normalisation, check_view
from ssl_norm.errors import UserError

PRESETS = sorted((Path(__file__).parents[3] / "configs" / "augment").glob("*.yaml"))


def test_needs_no_torch():
    code = "import sys, ssl_norm.data.augment; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_same_fields_as_config():
    assert {f.name for f in fields(ViewParameters)} == {f.name for f in fields(ViewConfig)}
    assert ViewParameters(**asdict(ViewConfig())).flip == 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flip": 1.5}, r"v\.flip: \[0, 1\] expected, got 1.5"),
        ({"blur": -0.1}, r"v\.blur: \[0, 1\] expected, got -0.1"),
        ({"grey": float("nan")}, r"v\.grey: \[0, 1\] expected, got nan"),
        ({"jitter": "often"}, r"v\.jitter: \[0, 1\] expected, got 'often'"),
        ({"hue": 0.6}, r"v\.hue: \[0, 0.5\] expected, got 0.6"),
        ({"contrast": -1}, r"v\.contrast: a number of at least 0 expected, got -1"),
        ({"crop_area": (1.0, 0.2)}, r"v\.crop_area: \[low, high\] with 0 < low <= high <= 1"),
        ({"crop_area": (0.2, 1.2)}, r"v\.crop_area: .*got \(0.2, 1.2\)"),
        ({"crop_ratio": (0.0, 1.0)}, r"v\.crop_ratio: \[low, high\] with 0 < low <= high exp"),
        ({"crop_ratio": 1.0}, r"v\.crop_ratio: .*got 1.0"),
        ({"blur_sigma": (0.0, 2.0)}, r"v\.blur_sigma: "),
        ({"blur_sigma": (0.1, 1.0, 2.0)}, r"v\.blur_sigma: "),
        ({"blur_sigma": ("a", "b")}, r"v\.blur_sigma: "),
        ({"solarize_threshold": 2}, r"v\.solarize_threshold: "),
        ({"extra": [{"degrees": 10}]}, r"v\.extra\[0\]: a kornia operation expected, such as"),
        ({"extra": [3]}, r"v\.extra\[0\]: a kornia operation expected.*got 3"),
    ],
)
def test_bad_values(change, message):
    view = ViewConfig(**change)
    with pytest.raises(UserError, match=message):
        check_view(view, "v")
    with pytest.raises(UserError):
        ViewParameters(**asdict(view))


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ((0.5,), (0.2,) * 3, r"augment\.mean: three values expected"),
        ((0.5,) * 3, (0.2, 0.0, 0.2), r"augment\.std: values above 0"),
        ((127.0,) * 3, (0.2,) * 3, r"augment\.mean: \[0, 1\] expected, got 127.0"),
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
def test_presets_fit_the_schema(path):
    preset = OmegaConf.merge(OmegaConf.structured(AugmentConfig), load(path))
    for name in ("view1", "view2"):
        check_view(preset[name], f"augment.{name}")
    check_normalisation(preset.mean, preset.std)
    assert path.read_text().startswith("#")


def test_presets_hold_differences_only():
    defaults = OmegaConf.structured(AugmentConfig)
    for path in PRESETS:
        preset = load(path)
        for name in {"mean", "std"} & set(preset):
            assert preset[name] != defaults[name], f"{path.name}: {name} is the default"
        for view in ("view1", "view2"):
            for name, value in preset[view].items():
                assert value != defaults[view][name], f"{path.name}: {view}.{name} is the default"
