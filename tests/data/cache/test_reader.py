import time

from ssl_norm.data.cache.reader import FolderReader, fingerprint


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
