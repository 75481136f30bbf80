import pytest
import torch
from torch import Generator

from ssl_norm.data.augment.parameters import ViewParameters
from ssl_norm.data.augment.views import (
    Views,
    move_together,
    to_device,
)
from ssl_norm.errors import UserError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FULL = ViewParameters.plain(
    crop_area=(0.08, 1.0),
    crop_ratio=(3 / 4, 4 / 3),
    flip=0.5,
    jitter=0.8,
    brightness=0.4,
    contrast=0.4,
    saturation=0.2,
    hue=0.1,
    grey=0.2,
    blur=0.5,
    solarize=0.2,
)
PLAIN = ViewParameters.plain()


def make(view1=FULL, view2=FULL, size=16, **options):
    return Views({"view1": view1, "view2": view2}, size, MEAN, STD, **options)


def seeded(seed=0):
    return Generator().manual_seed(seed)


def batch(n=12, height=20, width=20):
    pixels = torch.randint(0, 256, (n, 3, height, width), generator=seeded(7), dtype=torch.uint8)
    return pixels.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("exact_colour", [False, True])
def test_views_are_a_function_of_the_generator(exact_colour):
    views, images = make(exact_colour=exact_colour), batch()
    state = torch.get_rng_state()
    first, second = views(images, seeded()), views(images, seeded())
    other = views(images, seeded(1))
    for index in range(2):
        assert torch.equal(first[index], second[index])
        assert not torch.equal(first[index], other[index])
    assert not torch.equal(*first)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, batch())


@pytest.mark.parametrize("exact_colour", [False, True])
@pytest.mark.parametrize("size", [16, 24])
def test_ranks_see_what_one_process_sees(exact_colour, size):
    extra = ({"name": "RandomRotation", "degrees": 20},)
    views = make(FULL.model_copy(update={"extra": extra}), size=size, exact_colour=exact_colour)
    images = batch(12)
    whole = views(images, generator := seeded())
    for rank in range(3):
        rows = slice(4 * rank, 4 * rank + 4)
        part = views(images[rows], of_rank := seeded(), rank, 3)
        assert torch.equal(of_rank.get_state(), generator.get_state())
        for found, expected in zip(part, whole, strict=True):
            torch.testing.assert_close(found, expected[rows], atol=2e-5, rtol=0)


def test_plain_view_is_the_normalised_image():
    images = batch()
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    expected = (images / 255 - mean) / std
    view1, view2 = make(PLAIN, PLAIN, size=20)(images, seeded())
    torch.testing.assert_close(view1, expected, atol=1e-4, rtol=0)
    assert torch.equal(view1, view2)


@pytest.mark.parametrize(("n", "height", "width"), [(3, 16, 16), (3, 9, 30), (1, 40, 25)])
def test_any_number_and_size_of_images(n, height, width):
    for view in make()(batch(n, height, width), seeded()):
        assert view.shape == (n, 3, 16, 16)
        assert view.dtype == torch.float32
        assert view.is_contiguous(memory_format=torch.channels_last)
        assert view.isfinite().all()
        assert not view.requires_grad


def test_autocast_changes_nothing():
    views, images = make(), batch()
    expected = views(images, seeded())
    with torch.autocast("cpu", torch.bfloat16):
        found = views(images, seeded())
    assert torch.equal(found[0], expected[0])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            torch.zeros(2, 3, 8, 8),
            r"\(N, 3, H, W\) of torch.uint8, got \(2, 3, 8, 8\) torch.float32",
        ),
        (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), r"got \(2, 1, 8, 8\) torch.uint8"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), r"got \(3, 8, 8\)"),
    ],
)
def test_wrong_images(images, message):
    with pytest.raises(ValueError, match=message):
        make()(images, seeded())


def test_messages_name_the_key():
    with pytest.raises(UserError, match=r"augment\.view2\.extra\[0\]: unknown augmentation"):
        make(view2=FULL.model_copy(update={"extra": ["RandomRotaton"]}))
    with pytest.raises(UserError, match=r"augment\.std"):
        Views({"view": FULL}, 16, MEAN, (0.0, 1.0, 1.0))


def test_grid_shows_what_the_learner_sees():
    images = batch(5, 16, 16)
    views = make(PLAIN, PLAIN)
    picture = views.grid(*views(images, seeded()))
    assert picture.dtype == torch.uint8
    assert picture.shape == (3, 2 + 2 * 18, 2 + 4 * 34)
    assert torch.equal(picture[:, 2:18, 2:18], images[0])
    assert torch.equal(picture[:, 2:18, 18:34], images[0])
    assert torch.equal(picture[:, 2:18, 36:52], images[1])
    assert torch.equal(picture[:, 20:36, 2:18], images[4])
    assert (picture[:, 20:, 36:] == 255).all()


def test_every_dtype_and_shape_survives():
    tensors = [
        torch.rand(3, 2, 5),
        torch.tensor([True, False, True]),
        torch.tensor([], dtype=torch.int64),
        torch.arange(7).flip(0),
        torch.rand(4, 2, dtype=torch.float64).T,
        torch.tensor(2.5),
    ]
    moved = move_together(tensors, torch.device("cpu"))
    others = to_device([{"rows": tensors[3], "seed": 3}, {}], torch.device("meta"))
    assert (others[0]["seed"], others[1]) == (3, {})
    for before, after in zip(tensors, moved, strict=True):
        assert after.dtype == before.dtype
        assert torch.equal(after, before)
