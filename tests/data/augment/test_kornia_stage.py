import pytest
import torch
from torch import Generator

from ssl_norm.data.augment.kornia_stage import KorniaStage
from ssl_norm.data.augment.transform import Share
from ssl_norm.errors import UserError

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


@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_follows_the_generator_and_shares_over_ranks(entry):
    images = torch.rand(8, 3, 12, 12, generator=Generator().manual_seed(9))
    stage = KorniaStage(entry, 12)
    state = torch.get_rng_state()
    whole = run(stage, images)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(run(stage, images), whole)
    assert not torch.equal(run(stage, images, seed=1), whole)
    for rows in (slice(0, 4), slice(4, 8)):
        torch.testing.assert_close(run(stage, images, rows), whole[rows])


def test_every_image_has_its_own_parameters():
    image = torch.rand(1, 3, 12, 12).expand(8, 3, 12, 12)
    found = run(KorniaStage({"name": "RandomRotation", "degrees": 40, "p": 1.0}, 12), image)
    assert len(found.flatten(1).unique(dim=0)) == 8


def test_is_kornias_operation():
    images = torch.rand(8, 3, 12, 12)
    torch.testing.assert_close(
        run(KorniaStage({"name": "RandomInvert", "p": 1.0}, 12), images), 1 - images
    )


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("RandomRotaton", r"v\[0\]: unknown kornia operation .*did you mean 'RandomRotation'"),
        (
            {"name": "RandomRotation", "degree": 3},
            r"unknown option of RandomRotation 'degree'.*did you mean 'degrees'",
        ),
        ({"name": "RandomRotation"}, r"v\[0\]: RandomRotation with {}: .*degrees"),
        ({"name": "RandomRotation", "degrees": "far"}, r"v\[0\]: RandomRotation with .*far"),
        ({"name": "RandomInvert", "same_on_batch": True}, "unknown option of RandomInvert"),
        ({"name": "RandomCrop", "size": [8, 8]}, r"v\[0\]: RandomCrop changes the size of a view"),
        ({"p": 1.0}, "a kornia operation expected"),
    ],
)
def test_bad_entries_end_in_one_line(entry, message):
    with pytest.raises(UserError, match=message) as caught:
        KorniaStage(entry, 12, "v[0]")
    assert "\n" not in str(caught.value)
