import os
import socket
import subprocess
import sys

import pytest
import torch
from matplotlib.figure import Figure

from ssl_norm.errors import UserError
from ssl_norm.figures import save_figure
from ssl_norm.files import append_text, write_bytes, write_json, write_text
from ssl_norm.train.checkpoint import save_checkpoint
from tests.disk import full_disk

WRITERS = {
    "bytes": lambda path: write_bytes(path, bytes(10_000)),
    "text": lambda path: write_text(path, "é" * 10_000),
    "json": lambda path: write_json(path, {"key": "value" * 10_000}),
    "figure": lambda path: save_figure(Figure(), path),
    "checkpoint": lambda path: save_checkpoint(path, {"weight": torch.zeros(10_000)}),
    "append": lambda path: append_text(path, "row\n" * 10_000),
}


@pytest.mark.parametrize("room", [0, 1, 700, 1024])
@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path, name, room):
    path = tmp_path / "file"
    path.write_text("old")
    with full_disk(room), pytest.raises(UserError) as raised:
        WRITERS[name](path)
    line = f"cannot write {path}: File too large; free space there, or choose another folder"
    assert str(raised.value) == line
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
@pytest.mark.parametrize("name", WRITERS)
def test_a_device_is_written_to_and_stays_a_device(name):
    with pytest.raises(UserError, match="cannot write /dev/full: No space left on device; free"):
        WRITERS[name]("/dev/full")
    assert not os.path.isfile("/dev/full")


@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_that_is_missing_is_one_line(tmp_path, name):
    with pytest.raises(UserError, match=r"^cannot write .*/none/file: No such file or directory$"):
        WRITERS[name](tmp_path / "none/file")


def test_a_mistake_in_the_content_keeps_the_old_file(tmp_path):
    write_text(tmp_path / "file", "old")
    with pytest.raises(Exception, match="pickle"):
        save_checkpoint(tmp_path / "file", {"step": lambda: None})
    assert (tmp_path / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for text in ("new", "newer"):
        write_text(tmp_path / "link", text)
        assert (tmp_path / "file").read_text() == text
    assert (tmp_path / "link").is_symlink()


def test_the_rest_of_a_killed_process_is_removed_and_that_of_a_living_one_stays(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host = socket.gethostname()
    for process in (f"{host}-{ended.pid}", f"{host}-{os.getpid()}", f"other-{ended.pid}"):
        (tmp_path / f".partial-{process}-00").touch()
    write_text(tmp_path / "file", "text")
    left = {f".partial-{host}-{os.getpid()}-00", f".partial-other-{ended.pid}-00"}
    assert set(os.listdir(tmp_path)) == {"file", *left}
