import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ssl_norm.errors import UserError
from ssl_norm.models.load import load_encoder_weights, read_checkpoint
from ssl_norm.models.tiny import TinyResNet


@pytest.fixture
def weights():
    torch.manual_seed(1)
    return {
        name: torch.randn_like(value) if value.is_floating_point() else value
        for name, value in TinyResNet(4).state_dict().items()
    }


def prefixed(weights, prefix):
    return {prefix + name: value for name, value in weights.items()}


def other(weights):
    return {name: torch.zeros_like(value) for name, value in weights.items()}


def run_of_this_package(weights):
    learner = (
        prefixed(weights, "encoder.")
        | {"projector.0.weight": torch.zeros(3, 3)}
        | prefixed(other(weights), "target.0.")
    )
    return {"learner": learner, "config": {"encoder": {"name": "tiny"}}, "step": 7}


def moco(weights):
    state = prefixed(weights, "module.encoder_q.") | prefixed(other(weights), "module.encoder_k.")
    return {"epoch": 200, "state_dict": state | {"module.queue": torch.zeros(4, 4)}}


LAYOUTS = {
    "plain": lambda w: w,
    "this package": run_of_this_package,
    "moco": moco,
    "dino": lambda w: {"teacher": prefixed(w, "backbone."), "epoch": 3},
    "lightning": lambda w: {"state_dict": prefixed(w, "model.net."), "hyper_parameters": {"lr": 1}},
    "byol": lambda w: prefixed(w, "online_encoder.") | prefixed(other(w), "target_encoder."),
    "compiled": lambda w: {"model": prefixed(w, "module._orig_mod.")},
    "with a classifier": lambda w: w | {"fc.weight": torch.zeros(10, 16)},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout(layout, weights, tmp_path):
    torch.save(LAYOUTS[layout](weights), tmp_path / "file.pt")
    encoder = TinyResNet(4)
    report = load_encoder_weights(encoder, tmp_path / "file.pt", min_match=1.0)
    assert report.match == 1.0
    assert report.missing == report.shape_mismatch == ()
    assert all(torch.equal(encoder.state_dict()[name], weights[name]) for name in report.matched)


def test_safetensors(weights, tmp_path):
    save_file(weights, tmp_path / "file.safetensors")
    assert load_encoder_weights(TinyResNet(4), tmp_path / "file.safetensors").match == 1.0


def test_report(weights, tmp_path):
    partial = {k: v for k, v in weights.items() if k != "stem.weight"}
    partial["stem_bn.weight"] = torch.zeros(5)
    torch.save(partial | {"fc.bias": torch.zeros(10)}, tmp_path / "file.pt")
    report = load_encoder_weights(TinyResNet(4), tmp_path / "file.pt")
    assert report.missing == ("stem.weight",)
    assert report.shape_mismatch == ("stem_bn.weight",)
    assert report.unexpected == ("fc.bias",)
    assert report.match == len(report.matched) / (len(report.matched) + 2)
    assert "1 missing: stem.weight" in str(report)


def test_poor_match_is_refused_and_changes_nothing(weights, tmp_path):
    torch.save({k: v for k, v in weights.items() if "stage1" in k}, tmp_path / "file.pt")
    encoder = TinyResNet(4)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    with pytest.raises(
        UserError, match=r"\d+ of \d+ tensors match.* missing: stem.weight"
    ) as error:
        load_encoder_weights(encoder, tmp_path / "file.pt")
    assert "\n" not in str(error.value)
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())


def test_other_network(tmp_path):
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "file.pt")
    with pytest.raises(UserError, match="holds no weights of TinyResNet"):
        load_encoder_weights(TinyResNet(4), tmp_path / "file.pt")


class Harmful:
    def __reduce__(self):
        raise_if_run = "raise AssertionError('code in a checkpoint was run')"
        return exec, (raise_if_run,)


def test_code_in_a_file_is_not_run(tmp_path):
    torch.save({"model": Harmful()}, tmp_path / "file.pt")
    with pytest.raises(UserError, match="nothing else is read for safety"):
        read_checkpoint(tmp_path / "file.pt")


@pytest.mark.parametrize("name", ["file.pt", "file.safetensors"])
def test_file_that_is_no_checkpoint(name, tmp_path):
    (tmp_path / name).write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(UserError, match=name):
        read_checkpoint(tmp_path / name)


def test_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="there is no checkpoint file"):
        read_checkpoint(tmp_path / "nothing.pt")


def test_file_that_holds_no_dict(tmp_path):
    torch.save(torch.zeros(3), tmp_path / "file.pt")
    with pytest.raises(UserError, match="holds a Tensor, not a state_dict"):
        read_checkpoint(tmp_path / "file.pt")
