import os
import time

from ssl_norm.data.cache.reader import FolderReader, fingerprint


def test_a_file_replaced_by_one_of_the_same_size_and_time_shows(tmp_path):
    file = tmp_path / "1.png"
    file.write_bytes(b"one")
    stat = file.stat()
    before = fingerprint(FolderReader(str(tmp_path)), ["1.png"])
    time.sleep(0.05)
    file.write_bytes(b"two")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert file.stat().st_mtime_ns == stat.st_mtime_ns
    assert fingerprint(FolderReader(str(tmp_path)), ["1.png"]).digest != before.digest


def test_names_and_missing_files_show(tmp_path):
    (tmp_path / "1.png").touch()
    digests = {
        fingerprint(FolderReader(str(tmp_path)), paths).digest
        for paths in (["1.png"], ["2.png"], [])
    }
    assert len(digests) == 3


def test_only_files_left_alone_for_a_while_are_settled(tmp_path, monkeypatch):
    (tmp_path / "1.png").touch()
    assert not fingerprint(FolderReader(str(tmp_path)), ["1.png"]).settled
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + 3_000_000_000)
    assert fingerprint(FolderReader(str(tmp_path)), ["1.png"]).settled
