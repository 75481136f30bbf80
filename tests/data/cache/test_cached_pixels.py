import errno
import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ssl_norm.data.cache import cached_pixels as cache
from ssl_norm.data.cache.cached_pixels import cached_pixels
from ssl_norm.data.cache.reader import FolderReader, fingerprint
from ssl_norm.errors import UserError
from tests.data.image_files_on_disk import noise, write_images


def load(folder: Path, cache_dir: Path, **options):
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    settings = {"side": 8, "white": 65535, "workers": 0, **options}
    return cached_pixels(FolderReader(str(folder)), paths, cache_dir=str(cache_dir), **settings)


def entries(cache_dir: Path) -> list[str]:
    return sorted(path.name for path in cache_dir.iterdir() if path.name != "known")


@pytest.fixture
def folder(tmp_path):
    write_images(tmp_path / "images", 6)
    return tmp_path / "images"


@pytest.fixture
def cache_dir(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def no_decoding(monkeypatch):
    """Let a call stop the decoding of files; before it, files decode."""

    def forbid(*_):
        raise AssertionError("decoded again")

    return lambda: monkeypatch.setattr(cache, "decode", forbid)


def settle(monkeypatch):
    """Pretend that the files were written a while ago."""
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 10_000_000_000)


def test_processes_write_what_one_process_writes(tmp_path):
    write_images(tmp_path / "many", 2 * cache.CHUNK + 3)
    alone = load(tmp_path / "many", tmp_path / "alone")
    together = load(tmp_path / "many", tmp_path / "together", workers=2)
    np.testing.assert_array_equal(alone.pixels, together.pixels)


def test_a_settled_folder_is_not_read(folder, cache_dir, monkeypatch):
    settle(monkeypatch)
    load(folder, cache_dir)
    monkeypatch.setattr(cache, "content_digest", None)
    load(folder, cache_dir)


def test_only_files_left_alone_for_a_while_are_settled_and_names_count(folder, monkeypatch):
    reader = FolderReader(str(folder))
    assert not fingerprint(reader, ["000.png"])[1]
    settle(monkeypatch)
    found = [fingerprint(reader, paths) for paths in (["000.png"], ["missing.png"], [])]
    assert len({digest for digest, _ in found}) == 3
    assert all(is_settled for _, is_settled in found)


def test_pixels_are_exact_mapped_read_only_and_found_again_where_a_folder_moved(
    folder, cache_dir, no_decoding
):
    pixels = load(folder, cache_dir).pixels
    assert isinstance(pixels, np.memmap)
    assert not pixels.flags.writeable
    np.testing.assert_array_equal(pixels, [noise(seed=seed) for seed in range(6)])
    no_decoding()
    np.testing.assert_array_equal(load(folder, cache_dir).pixels, pixels)
    np.testing.assert_array_equal(
        load(folder.rename(folder.with_name("moved")), cache_dir).pixels, pixels
    )


def test_any_changed_byte_and_another_size_make_another_entry(folder, cache_dir, monkeypatch):
    settle(monkeypatch)
    load(folder, cache_dir)
    file = folder / "000.png"
    stat, other = file.stat(), (folder / "001.png").read_bytes()
    time.sleep(0.05)
    file.write_bytes(other.ljust(stat.st_size, b"\0")[: max(stat.st_size, len(other))])
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    np.testing.assert_array_equal(load(folder, cache_dir).pixels[0], noise(seed=1))
    assert load(folder, cache_dir, side=5).pixels.shape == (6, 5, 5, 3)
    assert len(entries(cache_dir)) == 3


def test_corrupt_files_stop_and_leave_nothing_or_are_skipped_and_remembered(folder, cache_dir):
    (folder / "002.png").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"002\.png does not decode .*data\.on_corrupt=skip"):
        load(folder, cache_dir)
    assert entries(cache_dir) == []
    (folder / "004.png").unlink()
    (folder / "004.png").symlink_to("nowhere")
    for _ in range(2):
        cached = load(folder, cache_dir, on_corrupt="skip")
        assert cached.facts.corrupt == {
            2: "not an image that Pillow can read",
            4: "No such file or directory",
        }
        np.testing.assert_array_equal(cached.pixels[5], noise(seed=5))
    with pytest.raises(UserError, match=r"002\.png does not decode"):
        load(folder, cache_dir)


@pytest.mark.parametrize(
    "interruption", [KeyboardInterrupt, OSError(errno.ENOSPC, "No space left")]
)
def test_interrupted_caching_leaves_nothing(folder, cache_dir, monkeypatch, interruption):
    real, calls = cache.decode, []

    def decode(data, rules):
        calls.append(1)
        if len(calls) > 3:
            raise interruption
        return real(data, rules)

    monkeypatch.setattr(cache, "decode", decode)
    with pytest.raises((KeyboardInterrupt, UserError), match=r"^$|No space left.*data\.cache_dir"):
        load(folder, cache_dir)
    assert entries(cache_dir) == []


def test_of_two_writers_the_first_to_end_wins(folder, cache_dir, monkeypatch):
    real, inner = cache.decode, []

    def decode(data, rules):
        if not inner:
            inner.append(None)
            inner[0] = load(folder, cache_dir)
        return real(data, rules)

    monkeypatch.setattr(cache, "decode", decode)
    outer = load(folder, cache_dir)
    assert outer.entry == inner[0].entry
    assert len(entries(cache_dir)) == 1
    np.testing.assert_array_equal(outer.pixels, inner[0].pixels)


def test_a_file_that_changes_meanwhile_is_an_error(folder, cache_dir, monkeypatch):
    monkeypatch.setattr(cache, "content_digest", lambda *_: b"other")
    with pytest.raises(UserError, match=r"000\.png changed while it was being cached"):
        load(folder, cache_dir)


def test_disk_space_is_checked_before_the_work(folder, cache_dir, monkeypatch, no_decoding):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    no_decoding()
    with pytest.raises(UserError, match=r"the image cache needs 0\.00 GB in .*data\.cache_dir"):
        load(folder, cache_dir)


def test_an_impossible_cache_folder_is_one_clear_line(folder):
    with pytest.raises(
        UserError, match=r"cannot use the image cache in .*000\.png: Not a directory"
    ):
        load(folder, folder / "000.png")


def test_a_damaged_entry_is_one_clear_line(folder, cache_dir):
    entry = load(folder, cache_dir).entry
    os.truncate(entry / "pixels.npy", 500)
    with pytest.raises(UserError, match="is damaged; delete that folder"):
        load(folder, cache_dir)
