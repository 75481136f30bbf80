import inspect
from typing import Annotated

import pytest
import torch
from annotated_types import Interval
from kornia import augmentation
from torch import Generator

from ssl_norm.data.augment.extra import extra_transform
from ssl_norm.data.augment.parameters import AUGMENTATIONS
from ssl_norm.data.augment.transform import Share, sample_uniform
from ssl_norm.errors import UserError
from ssl_norm.signature import argument_names

ENTRIES = [
    "RandomInvert",
    {"name": "RandomRotation", "degrees": 30, "p": 1.0},
    {"name": "RandomErasing", "p": 0.7},
    {"name": "RandomGaussianNoise", "std": 0.1, "p": 0.5},
    {"name": "RandomPerspective", "p": 1.0},
    {"name": "ColorJitter", "brightness": 0.5, "p": 1.0},
]


def run(stage, images, rows=slice(0, 8), seed=0):
    drawn = stage.draw(Share(8, rows, 12, 12), Generator().manual_seed(seed))
    return stage.apply(images[rows].clone(), drawn)


@pytest.mark.parametrize("entry", [*ENTRIES, *AUGMENTATIONS], ids=str)
def test_follows_the_generator_and_shares_over_ranks(entry):
    images = torch.rand(8, 3, 12, 12, generator=Generator().manual_seed(9))
    stage = extra_transform(entry, 12)
    state = torch.get_rng_state()
    whole = run(stage, images)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(run(stage, images), whole)
    assert not torch.equal(run(stage, images, seed=1), whole)
    for rows in (slice(0, 4), slice(4, 8)):
        torch.testing.assert_close(run(stage, images, rows), whole[rows])


def test_every_image_has_its_own_parameters():
    image = torch.rand(1, 3, 12, 12).expand(8, 3, 12, 12)
    found = run(extra_transform({"name": "RandomRotation", "degrees": 40, "p": 1.0}, 12), image)
    assert len(found.flatten(1).unique(dim=0)) == 8


class Fade:
    """Images times a factor, drawn per image from [low, 1]."""

    def __init__(self, *, low: Annotated[float, Interval(ge=0, le=1)] = 0.5) -> None:
        self.low = low

    def draw(self, share, generator):
        return {"factors": sample_uniform(share.total, self.low, 1.0, generator)[share.rows]}

    def apply(self, images, params):
        return images * params["factors"][:, None, None, None]


def test_a_class_of_any_package_is_a_step():
    images = torch.ones(8, 3, 12, 12)
    found = run(extra_transform({"name": f"{__name__}:Fade", "low": 0.1}, 12), images)
    assert len(found.flatten(1).unique(dim=0)) == 8
    assert found.min() >= 0.1
    part = run(extra_transform({"name": f"{__name__}:Fade", "low": 0.1}, 12), images, slice(4, 8))
    assert torch.equal(part, found[4:])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("RandomRotaton", r"v\[0\]: unknown augmentation .*did you mean 'RandomRotation'"),
        ({"name": "RandomRotation", "degree": 3}, "no option 'degree'.*did you mean 'degrees'"),
        ({"name": "RandomRotation", "degrees": "far"}, r"v\[0\]: RandomRotation with .*far"),
        ({"name": "RandomInvert", "same_on_batch": True}, "RandomInvert has no option"),
        ({"name": "RandomCrop", "size": [8, 8]}, r"v\[0\]: RandomCrop changes the size of a view"),
        ({"p": 1.0}, "a kornia operation expected"),
        ({"name": f"{__name__}:Fade", "low": 2.0}, r"v\[0\]: .*low=2.0: a number in \[0, 1\]"),
        ({"name": f"{__name__}:Fade", "lwo": 0.1}, r".* has no option 'lwo'.*mean 'low'"),
        (f"{__name__}:Fad", r"v\[0\]: .*unknown object 'Fad'.*did you mean 'Fade'"),
        ("gaussian_blurr", "unknown augmentation .*did you mean 'gaussian_blur'"),
    ],
)
def test_bad_entries_end_in_one_line(entry, message):
    with pytest.raises(UserError, match=message) as caught:
        extra_transform(entry, 12, "v[0]")
    assert "\n" not in str(caught.value)


def test_options_of_kornia_read_from_source_are_those_of_its_classes():
    base = augmentation.AugmentationBase2D
    kinds = {name: kind for name, kind in vars(augmentation).items() if isinstance(kind, type)}
    kinds = {name: kind for name, kind in kinds.items() if issubclass(kind, base)}
    read = {name: argument_names(f"kornia.augmentation:{name}") for name in kinds}
    known = {name: names for name, names in read.items() if names}
    assert len(known) > 40
    assert known == {name: [*inspect.signature(kinds[name]).parameters] for name in known}
