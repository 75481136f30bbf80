import pytest
import torch

from ssl_norm.data import dataset
from ssl_norm.data.dataset import ImageSet, Splits, place_pixels

PIXELS = torch.arange(5 * 2 * 2 * 3, dtype=torch.uint8).reshape(5, 2, 2, 3)
LABELS = torch.tensor([3, 1, 4, 1, 5])


def test_subsets_of_subsets_share_the_pixels_too():
    subset = ImageSet(PIXELS, LABELS, ("a",), ("x",)).subset([4, 0, 2]).subset(torch.tensor([2, 0]))
    assert subset.pixels is PIXELS
    assert (subset.classes, subset.skipped) == (("a",), ("x",))
    assert torch.equal(subset.images, PIXELS[[2, 4]])
    assert torch.equal(subset.labels, LABELS[[2, 4]])
    assert torch.equal(subset.take(torch.tensor([1, 1, 0])), PIXELS[[4, 4, 2]])
    assert ImageSet(PIXELS).subset([1]).labels is None


def test_splits_name_every_skipped_file_once():
    first, second = ImageSet(PIXELS, skipped=("b", "a")), ImageSet(PIXELS, skipped=("c", "a"))
    assert Splits(first, first, second).skipped == ("a", "b", "c")
    assert Splits(first).skipped == ("a", "b")


CPU = torch.device("cpu")
IN_FILE = ImageSet(PIXELS, mapped=True).subset([4, 1])


@pytest.mark.parametrize(("resident", "free"), [("auto", 48), (True, 0), ("auto", 47), (False, 99)])
def test_only_the_pixels_of_a_set_are_copied_if_they_fit_or_must(resident, free, monkeypatch):
    monkeypatch.setattr(dataset, "_CHUNK", 1)
    monkeypatch.setattr(dataset, "free_host_bytes", lambda _: free)
    placed = place_pixels(IN_FILE, CPU, resident)
    stays = free in (47, 99)
    assert placed.mapped == stays
    assert (placed.pixels is PIXELS) == stays
    assert len(placed.pixels) == (5 if stays else 2)
    assert torch.equal(placed.images, IN_FILE.images)
    assert place_pixels(ImageSet(PIXELS), CPU, True).pixels is PIXELS
