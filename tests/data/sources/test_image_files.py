import pytest

from ssl_norm.data.cache.reader import printable
from ssl_norm.data.sources.folder import existing_folder, find_images
from ssl_norm.errors import UserError


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


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "photos").mkdir()
    assert existing_folder("~/photos") == tmp_path / "photos"


def test_a_wrong_root_is_one_clear_line(tmp_path):
    touch(tmp_path, "file.png")
    for root, message in {
        None: "data=folder needs data.root=",
        "": "data=folder needs data.root=",
        str(tmp_path / "none"): "there is no folder",
        "~nobody-of-this-name/photos": "there is no folder",
        str(tmp_path / "file.png"): "is a file; expected a folder of images",
    }.items():
        with pytest.raises(UserError, match=message):
            existing_folder(root)


def test_undecodable_names_can_be_printed():
    assert printable("caf\udce9.png") == "caf�.png"
