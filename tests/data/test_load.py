import pytest
import torch

from ssl_norm.data import load_splits
from ssl_norm.errors import UserError


def test_digits_are_four_canvases_a_scan_and_stratified():
    splits = load_splits("digits", image_size=16)
    assert splits.train.images.shape == (4 * 1438, 16, 16, 3)
    assert len(splits.train) + len(splits.test) == 4 * 1797
    assert splits.train.images.dtype == torch.uint8
    assert splits.test.labels.bincount().min() >= 4 * 34


def test_limit_concerns_pretraining_alone_and_is_seeded():
    splits, again, other = (load_splits("digits", limit=100, seed=seed) for seed in (0, 0, 1))
    assert len(splits.pretrain) == 100
    assert len(splits.train) == 4 * 1438
    assert torch.equal(splits.pretrain.rows, again.pretrain.rows)
    assert not torch.equal(splits.pretrain.rows, other.pretrain.rows)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("digits", {"limit": 5753}, "data.limit=5753: expected 2 to 5,752"),
        ("digits", {"limit": 1}, "data.limit=1: expected 2 to 5,752"),
        ("digits", {"image_size": 0}, r"data.image_size=0: an integer in \[8, "),
        ("digits", {"test_fraction": 1.0}, r"data.test_fraction=1.0: a number in \(0, 1\)"),
        ("folder", {"cache_size": 0}, r"data.cache_size=0: an integer in \[8, "),
        ("folder", {"workers": -1}, r"data.workers=-1: an integer in \[0, "),
        ("folder", {"root": ""}, "data=folder needs data.root="),
        ("folder", {"on_corrupt": "skp"}, "unknown data.on_corrupt 'skp'; .* did you mean 'skip'"),
    ],
)
def test_values_out_of_range_are_one_clear_line(source, options, message):
    with pytest.raises(UserError, match=message):
        load_splits(source, **options)


def test_an_unknown_source_is_one_clear_line():
    with pytest.raises(UserError, match=r"unknown data 'cifer10'.* did you mean 'cifar10'"):
        load_splits("cifer10")
