import os
import re
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_norm.data import load_splits
from ssl_norm.data.cache import cached_pixels
from ssl_norm.data.sources.folder import cached_side, existing_folder, find_images
from ssl_norm.errors import UserError
from tests.data.image_files_on_disk import noise, write_images


@pytest.fixture
def load(tmp_path):
    def load(**options):
        settings = {"root": str(tmp_path / "images"), "cache_dir": str(tmp_path / "cache")}
        return load_splits("folder", **{**settings, "image_size": 8, "workers": 0, **options})

    return load


@pytest.fixture
def root(tmp_path):
    return tmp_path / "images"


def colours(images) -> set[tuple[int, ...]]:
    return {tuple(image[0, 0].tolist()) for image in images.images}


def write_classes(root, *counts):
    for number, (name, count) in enumerate(zip(("cat", "dog"), counts, strict=True)):
        write_images(root / name, count, first_seed=10 * number)


def test_class_folders_are_split_and_pretraining_does_not_see_the_test_part(root, load):
    write_classes(root, 10, 5)
    splits = load()
    assert splits.train is splits.pretrain
    assert splits.train.classes == splits.test.classes == ("cat", "dog")
    assert splits.train.labels.bincount().tolist() == [8, 4]
    assert splits.test.labels.bincount().tolist() == [2, 1]
    assert not colours(splits.train) & colours(splits.test)
    assert len(colours(splits.train) | colours(splits.test)) == 15
    for images in (splits.train, splits.test):
        for pixels, label in zip(images.images, images.labels, strict=True):
            seeds = range(10 * label, 10 * label + 10)
            assert any(torch.equal(pixels, torch.from_numpy(noise(seed=seed))) for seed in seeds)
    assert colours(load(seed=1).test) == colours(load(seed=1).test) != colours(load(seed=2).test)
    assert len(load(test_fraction=0.4).test) == 6


def test_given_splits_are_kept(root, load):
    for name, count, seed in zip(
        ("train/a", "train/b", "val/a", "val/b"), (4, 3, 2, 1), (0, 4, 7, 9), strict=True
    ):
        write_images(root / name, count, first_seed=seed)
    splits = load()
    assert splits.train.labels.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert splits.test.labels.tolist() == [0, 0, 1]
    assert torch.equal(splits.test.images[2], torch.from_numpy(noise(seed=9)))


def test_without_labels_all_images_are_for_pretraining(root, load):
    write_images(root, 5)
    splits = load()
    assert len(splits.pretrain) == 5
    assert splits.pretrain.labels is None
    assert splits.train is splits.test is None


def test_unlabelled_test_images_are_not_pretrained_on(root, load):
    write_images(root / "train", 5)
    write_images(root / "test", 3, first_seed=5)
    splits = load()
    assert len(splits.pretrain) == 5
    assert splits.test is None


def test_classes_of_one_image_leave_nothing_to_score(root, load):
    write_classes(root, 1, 1)
    splits = load()
    assert len(splits.pretrain) == 2
    assert splits.train is splits.test is None


def test_skipped_files_are_in_no_split_and_named(root, load):
    write_classes(root, 5, 5)
    (root / "cat/003.png").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"cat/003\.png does not decode"):
        load()
    splits = load(on_corrupt="skip")
    assert splits.skipped == (str(root / "cat/003.png"),)
    assert len(splits.train) + len(splits.test) == 9
    assert torch.cat([splits.train.labels, splits.test.labels]).bincount().tolist() == [4, 5]


def test_too_few_images_are_one_clear_line(root, load):
    def fails(message, **options):
        with pytest.raises(UserError, match=message + r".*at least 2 are needed"):
            load(**options)

    root.mkdir()
    (root / "notes.txt").touch()
    fails(r"found 0 images in .*\(and 1 other entry\)")
    write_images(root, 1)
    fails(r"found 1 image in ")
    (root / "001.png").write_bytes(b"broken")
    fails("found 1 image that decode in ", on_corrupt="skip")


def test_the_cache_is_somewhat_larger_than_large_views(root, load):
    assert [cached_side(side, None) for side in (32, 64, 96, 224)] == [32, 64, 110, 256]
    assert cached_side(224, 300) == 300
    write_images(root, 2)
    assert load(image_size=96).pretrain.image_shape == (110, 110, 3)


def test_messages_go_to_stderr_as_they_are(root, load, capsys):
    write_images(root / "a [bold]", 2)
    (root / "notes.txt").touch()
    load(progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "2 images, kept at 8 px in " in err
    assert "ignored 1 hidden entry or file that is not an image\n" in err
    assert "no labels (there are no two class folders)\n" in err


@pytest.mark.parametrize("kind", ["pipe", "device", "socket", "absurd"])
def test_only_regular_files_of_a_possible_size_are_read(root, load, kind, monkeypatch):
    write_images(root, 3)
    monkeypatch.chdir(root)
    if kind == "pipe":
        os.mkfifo("x.png")
    elif kind == "device":
        Path("x.png").symlink_to("/dev/zero")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("x.png")
    else:
        Path("x.png").touch()
        os.truncate("x.png", 2**36)
    with pytest.raises(UserError, match=r"x\.png does not decode \((a pipe, socket|68\.7 GB)"):
        load()
    splits = load(on_corrupt="skip")
    assert splits.skipped == (str(root / "x.png"),)
    assert "skipped 1 file that cannot be decoded: x.png (" in " ".join(splits.notes)


def test_pictures_of_unread_formats_are_named(root, load):
    touch(root, "1.heic", "2.HEIC", "3.jp2", "notes.txt")
    unread = r"2 \.heic, 1 \.jp2, which are not read: convert them to PNG or JPEG"
    with pytest.raises(UserError, match=rf"\(and 4 other entries, of them {unread}\)"):
        load()
    write_images(root, 2)
    assert re.search(rf"ignored 4 .* that are not images, of them {unread}", load().notes[-1])


def write_grey(root, bits, first=0, count=4):
    root.mkdir(exist_ok=True)
    for index in range(first, first + count):
        grey = np.linspace(0, 2**bits - 1, 64).round().astype(np.uint16).reshape(8, 8)
        Image.fromarray(grey).save(root / f"{index}.png")


@pytest.mark.parametrize("bits", [8, 12])
def test_values_that_fill_a_small_part_of_16_bits_stop_with_the_choice(root, load, bits):
    write_images(root / "colour", 3)
    write_grey(root, bits)
    white = 2**bits - 1
    with pytest.raises(
        UserError, match=rf"4 of 4 .* up to {white} of 65535.*data\.white={white}, "
    ):
        load()
    for choice in (white, "auto"):
        splits = load(white=choice)
        assert splits.pretrain.images[0].max() == 255
        assert f"4 images of more than 8 bits; their white is {white:,}" in splits.notes
    assert load(white=65535).pretrain.images[0].max() == round(white / 257)


def test_a_few_dark_images_of_16_bits_are_a_note(root, load):
    write_grey(root, 16, count=5)
    write_grey(root, 12, first=5, count=2)
    splits, chosen = load(), load(white="auto")
    assert splits.notes == chosen.notes
    assert splits.notes[-1].endswith("white is 65,535, 2 of them below a quarter of it")


def test_dark_images_outside_of_the_sample_stop_as_well(root, load, monkeypatch):
    write_images(root, 9)
    write_grey(root, 12, count=2)
    monkeypatch.setattr(cached_pixels, "SAMPLE", 0)
    for white in (None, "auto"):
        with pytest.raises(UserError, match="2 of 2 images of more than 8 bits"):
            load(white=white)


def test_transparent_images_are_counted(root, load):
    write_images(root, 2)
    for index in range(3):
        Image.new("RGBA", (8, 8), (9, 9, 9, 255 - index)).save(root / f"alpha{index}.png")
    assert "2 partly transparent images, composited over white" in load().notes


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_images_are_found_at_any_depth_in_a_fixed_order(tmp_path):
    names = ["b.png", "a/2.JPG", "a/1.jpeg", "a/deep/er/x.TIFF", "a b/ü 1.webp", "a.bmp"]
    touch(tmp_path, *names)
    assert find_images(tmp_path).paths == (
        "a/1.jpeg",
        "a/2.JPG",
        "a/deep/er/x.TIFF",
        "a b/ü 1.webp",
        "a.bmp",
        "b.png",
    )


def test_hidden_entries_and_other_files_are_counted_but_not_taken(tmp_path):
    touch(tmp_path, "1.png", ".2.png", ".git/3.png", ".git/4.png", "notes.txt", "png", "a/.png")
    listing = find_images(tmp_path)
    assert listing.paths == ("1.png",)
    assert listing.ignored == 5


def test_links_are_followed_but_not_in_circles(tmp_path):
    touch(tmp_path, "elsewhere/1.png", "images/a/2.png")
    (tmp_path / "images/b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "images/c.png").symlink_to(tmp_path / "elsewhere/1.png")
    (tmp_path / "images/a/up").symlink_to(tmp_path / "images")
    (tmp_path / "images/self.png").symlink_to(tmp_path / "images/self.png")
    assert find_images(tmp_path / "images").paths == ("a/2.png", "b/1.png", "c.png", "self.png")


def test_home_is_expanded_and_a_wrong_root_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    touch(tmp_path, "photos/1.png", "file.png")
    assert existing_folder("~/photos") == tmp_path / "photos"
    for root, message in {
        None: "data=folder needs data.root=",
        "": "data=folder needs data.root=",
        str(tmp_path / "none"): "there is no folder",
        "~nobody-of-this-name/photos": "there is no folder",
        str(tmp_path / "file.png"): "is a file; expected a folder of images",
    }.items():
        with pytest.raises(UserError, match=message):
            existing_folder(root)
