import pytest
import torch

from ssl_norm.errors import UserError
from ssl_norm.train.checkpoint import load_checkpoint, save_checkpoint


def test_content_goes_round(tmp_path):
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
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_unreadable_file_is_named(tmp_path, content):
    path = tmp_path / "last.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"last\.pt"):
        load_checkpoint(path)


def test_foreign_file_is_refused(tmp_path):
    torch.save({"w": torch.zeros(1)}, tmp_path / "last.pt")
    with pytest.raises(UserError, match="not an ssl_norm checkpoint of format 1"):
        load_checkpoint(tmp_path / "last.pt")
