"""CIFAR-10 and STL-10 from files that have the real layout and small, made-up content."""

import pickle
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10, STL10

from ssl_norm.data import load_splits
from ssl_norm.errors import UserError


@pytest.fixture
def anything_is_complete(monkeypatch):
    """The made-up files do not have the checksums of the real ones."""
    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda _: True)
    monkeypatch.setattr(CIFAR10, "_load_meta", lambda self: setattr(self, "classes", list("abc")))
    monkeypatch.setattr(STL10, "_check_integrity", lambda _: True)


def planes(count: int, side: int) -> np.ndarray:
    """Return images whose colours differ from one another and from row to column: (N, 3, H, W)."""
    shape = (count, 3, side, side)
    return np.random.default_rng(count).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.usefixtures("anything_is_complete")
@pytest.mark.parametrize("inside", ["", "cifar-10-batches-py"])
def test_cifar10(tmp_path, inside):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    stored = planes(2, 32)
    for name, _ in CIFAR10.train_list + CIFAR10.test_list:
        content = {"data": stored.reshape(2, -1), "labels": [1, 2]}
        (folder / name).write_bytes(pickle.dumps(content))
    splits = load_splits("cifar10", root=str(tmp_path / inside))
    assert splits.pretrain is splits.train
    assert splits.train.labels.tolist() == [1, 2] * 5
    assert splits.train.classes == ("a", "b", "c")
    assert torch.equal(splits.test.images, torch.from_numpy(stored).permute(0, 2, 3, 1))
    assert splits.test.images.is_contiguous()


@pytest.mark.usefixtures("anything_is_complete")
def test_stl10(tmp_path):
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    stored = {
        name: planes(count, 96) for name, count in (("train", 3), ("unlabeled", 4), ("test", 2))
    }
    for name, images in stored.items():
        (folder / f"{name}_X.bin").write_bytes(images.transpose(0, 1, 3, 2).tobytes())
    (folder / "train_y.bin").write_bytes(bytes([10, 1, 2]))
    (folder / "test_y.bin").write_bytes(bytes([1, 10]))
    splits = load_splits("stl10", root=str(tmp_path), image_size=96)
    assert len(splits.pretrain) == 7
    assert splits.pretrain.labels is None
    assert splits.train.labels.tolist() == [9, 0, 1]
    assert splits.train.pixels is splits.pretrain.pixels
    assert splits.test.labels.tolist() == [0, 9]
    for name in ("train", "test"):
        images = getattr(splits, name).images
        assert torch.equal(images, torch.from_numpy(stored[name]).permute(0, 2, 3, 1))
        assert images.is_contiguous()


@pytest.mark.parametrize("dataset", [CIFAR10, STL10])
def test_missing_files_and_a_failing_download_are_one_clear_line(tmp_path, dataset, monkeypatch):
    name, folder = dataset.__name__.lower(), dataset.base_folder
    with pytest.raises(UserError) as caught:
        load_splits(name, root=str(tmp_path), download=False)
    message = str(caught.value)
    assert f"in {tmp_path / folder}, and data.download=false; point data.root at" in message
    assert "\n" not in message
    with pytest.raises(UserError, match=r"needs data\.root="):
        load_splits(name)
    monkeypatch.setattr(dataset, "download", Mock(side_effect=OSError("no network")))
    with pytest.raises(UserError, match=r"and fetching it failed \(no network\); point data\.root"):
        load_splits(name, root=str(tmp_path))
