import pytest
import torch

from ssl_norm.data.corruption.dataset import corrupt_chunks, corrupted
from ssl_norm.data.corruption.spec import Corruption
from ssl_norm.data.dataset import ImageSet
from ssl_norm.errors import UserError

PIXELS = torch.randint(
    0, 256, (600, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)
IMAGES = ImageSet(PIXELS, torch.arange(600) % 2, ("a", "b"), ("broken.jpg",), mapped=True)
NOISE = Corruption("gaussian_noise", 3)


def test_no_corruption_is_the_set_itself():
    assert corrupted(IMAGES, None, seed=0) is IMAGES


@pytest.mark.parametrize("name", ["contrast", "gaussian_blur", "jpeg"])
def test_every_image_is_corrupted_in_its_place(name):
    subset = IMAGES.subset(range(599, 299, -1))  # more than a chunk
    corruption = Corruption(name, 4)
    found = corrupted(subset, corruption, seed=0)
    expected = corruption(subset.images.permute(0, 3, 1, 2), torch.Generator())
    assert found.images.permute(0, 3, 1, 2).equal(expected)
    assert found.labels.equal(subset.labels)
    assert found.classes == subset.classes
    assert found.skipped == subset.skipped
    assert found.rows is None
    assert not found.mapped


def test_noise_follows_the_seed_and_differs_between_chunks_and_the_source_stays_clean():
    before = PIXELS.clone()
    found = corrupted(IMAGES, NOISE, seed=0).pixels
    assert found.equal(corrupted(IMAGES, NOISE, seed=0).pixels)
    assert not found.equal(corrupted(IMAGES, NOISE, seed=1).pixels)
    assert PIXELS.equal(before)
    grey = ImageSet(torch.full((512, 8, 8, 3), 128, dtype=torch.uint8))
    noise = corrupted(grey, NOISE, seed=0).pixels
    assert len(noise.flatten(1).unique(dim=0)) == 512


def test_a_batch_that_does_not_divide_into_equal_chunks_is_one_line():
    with pytest.raises(UserError, match="a batch of 3 images is not 2 equal chunks"):
        corrupt_chunks(PIXELS[:3].permute(0, 3, 1, 2), [None, NOISE], torch.Generator())
