from math import nan
from zipfile import ZipFile

import pytest
import torch

from ssl_norm.errors import NonFiniteLoss, UserError
from ssl_norm.train.checkpoint import load_checkpoint, save_checkpoint


def test_content_survives_a_round_trip(tmp_path):
    content = {
        "step": 3,
        "learner": {"w": torch.arange(3.0)},
        "config": {"norm": {"encoder": "bn"}},
    }
    save_checkpoint(tmp_path / "last.pt", content)
    loaded = load_checkpoint(tmp_path / "last.pt")
    assert loaded["step"] == 3
    assert loaded["config"] == content["config"]
    torch.testing.assert_close(loaded["learner"], content["learner"])
    spoiled = {"state": [{"momentum": torch.tensor([1.0, nan])}], "step": torch.tensor(3)}
    with pytest.raises(
        NonFiniteLoss, match=r"^optimizer\.state\.0\.momentum became nan; .*last\.pt"
    ):
        save_checkpoint(tmp_path / "last.pt", {"step": 4, "optimizer": spoiled})
    assert load_checkpoint(tmp_path / "last.pt")["step"] == 3
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


def test_foreign_file_is_refused(tmp_path):
    torch.save({"w": torch.zeros(1)}, tmp_path / "last.pt")
    with pytest.raises(UserError, match="not an ssl_norm checkpoint of format 1"):
        load_checkpoint(tmp_path / "last.pt")


def test_a_changed_byte_in_any_part_is_found(tmp_path):
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"w": torch.arange(64.0), "config": {"epochs": 3}})
    content = path.read_bytes()
    archive = ZipFile(path)
    for part in archive.infolist():
        place = content.index(archive.read(part), part.header_offset)
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(UserError, match=r"last\.pt is damaged: .* not match its checksum"):
            load_checkpoint(path)


def test_a_file_that_torch_wrote_without_checksums_is_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        save_checkpoint(tmp_path / "last.pt", {"step": 3})
    finally:
        torch.serialization.set_crc32_options(True)
    assert load_checkpoint(tmp_path / "last.pt")["step"] == 3
