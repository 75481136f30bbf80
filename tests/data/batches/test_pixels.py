import pytest
import torch

from ssl_norm.data.batches import pixels as residence
from ssl_norm.data.batches.pixels import fits, free_host_bytes, place_pixels
from ssl_norm.data.dataset import ImageSet
from ssl_norm.errors import UserError

CPU = torch.device("cpu")
IMAGES = ImageSet(torch.arange(5 * 12, dtype=torch.uint8).reshape(5, 2, 2, 3), mapped=True)
SUBSET = IMAGES.subset([4, 1])


def test_what_fits_leaves_half_to_the_work():
    assert fits(50, 100)
    assert not fits(51, 100)


@pytest.mark.parametrize("resident", [False, "false"])
def test_pixels_stay_in_the_file_when_told(resident):
    placed = place_pixels(SUBSET, CPU, resident)
    assert placed.mapped
    assert placed.pixels is IMAGES.pixels
    assert placed.rows.tolist() == [4, 1]


@pytest.mark.parametrize(("resident", "free"), [("auto", 48), (True, 0), ("true", 0)])
def test_only_the_sets_own_pixels_are_copied(resident, free, monkeypatch):
    monkeypatch.setattr(residence, "_CHUNK", 1)
    monkeypatch.setattr(residence, "free_host_bytes", lambda _: free)
    placed = place_pixels(SUBSET, CPU, resident)
    assert not placed.mapped
    assert torch.equal(placed.pixels[placed.rows], SUBSET.images)
    assert len(placed.pixels) == 2


def test_auto_leaves_what_does_not_fit_in_the_file(monkeypatch):
    monkeypatch.setattr(residence, "free_host_bytes", lambda _: 47)
    assert place_pixels(SUBSET, CPU, "auto").mapped


def test_pixels_in_memory_are_not_copied():
    images = ImageSet(IMAGES.pixels).subset([4, 1])
    assert place_pixels(images, CPU, True).pixels is IMAGES.pixels


def test_an_unknown_choice_is_one_clear_line():
    with pytest.raises(
        UserError, match=r"unknown data\.resident 'maybe'; known: auto, true, false"
    ):
        place_pixels(SUBSET, CPU, "maybe")


def test_free_memory_is_shared_by_processes():
    assert 0 < free_host_bytes(1000) <= free_host_bytes() / 100
