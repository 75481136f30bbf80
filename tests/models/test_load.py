from argparse import Namespace

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from ssl_norm.errors import UserError
from ssl_norm.models.checkpoint_prefixes import candidates
from ssl_norm.models.load import load_encoder_weights, read_checkpoint
from ssl_norm.models.stem import shrink_stem
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


def vissl(weights):
    model = {
        "trunk": prefixed(weights, "_feature_blocks."),
        "heads": {"0.clf.0.weight": torch.ones(2)},
    }
    return {"phase_idx": 3, "classy_state_dict": {"base_model": {"model": model, "meta": {}}}}


def solo_learn(weights):
    state = prefixed(other(weights), "momentum_backbone.") | prefixed(weights, "backbone.")
    return {"state_dict": state | {"projector.0.weight": torch.zeros(4, 16)}, "epoch": 3}


def lightly_sequential(weights):
    """Return weights as a LightningModule saves its backbone of encoder.children()."""
    children = {name: str(i) for i, (name, _) in enumerate(TinyResNet(4).named_children())}
    parts = {name: name.partition(".") for name in weights}
    numbered = {f"{children[p[0]]}.{p[2]}": weights[name] for name, p in parts.items()}
    state = prefixed(numbered, "backbone.") | prefixed(other(numbered), "backbone_momentum.")
    head = {"projection_head.layers.0.weight": torch.zeros(4, 16)}
    return {"state_dict": state | head, "hyper_parameters": {}}


def byol_pytorch(weights):
    online = prefixed(weights, "online_encoder.net.")
    return online | prefixed(other(weights), "target_encoder.net.")


def imbue(weights):
    state = prefixed(other(weights), "lagging_model.") | prefixed(weights, "model.")
    return {"state_dict": state | {"projection_model.net.0.weight": torch.zeros(4, 16)}}


LAYOUTS = {
    "vissl": vissl,
    "solo-learn": solo_learn,
    "lightly, numbered children": lightly_sequential,
    "byol-pytorch": byol_pytorch,
    "imbue": imbue,
    "arguments of a script": lambda w: {"teacher": w, "args": Namespace(lr=0.1)},
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


@pytest.mark.parametrize("layout", ["byol", "moco", "lightly, numbered children", "imbue"])
def test_the_target_network_is_loaded_where_it_is_asked_for(layout, weights, tmp_path):
    torch.save(LAYOUTS[layout](weights), tmp_path / "file.pt")
    encoder = TinyResNet(4)
    load_encoder_weights(encoder, tmp_path / "file.pt", min_match=1.0, of_target=True)
    expected = other(weights)
    assert all(torch.equal(value, expected[name]) for name, value in encoder.state_dict().items())


def test_a_file_without_a_target_network_says_so(weights, tmp_path):
    torch.save(weights, tmp_path / "file.pt")
    with pytest.raises(UserError, match="holds no target network of TinyResNet"):
        load_encoder_weights(TinyResNet(4), tmp_path / "file.pt", of_target=True)


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
    with pytest.raises(UserError, match="holds exec, and nothing but tensors, numbers and text"):
        read_checkpoint(tmp_path / "file.pt")


@pytest.mark.parametrize(
    ("name", "contents", "message"),
    [
        ("file.pt", b"PK\x03\x04 cut off", "file.pt is not a readable checkpoint"),
        ("file.safetensors", b"PK\x03\x04 cut off", "file.safetensors is not a readable"),
        ("file.pt", b"hello world", r"file.pt is no.* checkpoint.*torch\.save"),
        ("file.pt", b"{}", r"file.pt is no.* checkpoint.*torch\.save"),
        ("file.pt", b"12345", r"file.pt is no.* checkpoint.*torch\.save"),
        ("file.pt", None, "there is no checkpoint file"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_one_clear_line(name, contents, message, tmp_path):
    if contents is not None:
        (tmp_path / name).write_bytes(contents)
    with pytest.raises(UserError, match=message) as caught:
        read_checkpoint(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_file_that_holds_no_dict(tmp_path):
    torch.save(torch.zeros(3), tmp_path / "file.pt")
    with pytest.raises(UserError, match="holds a Tensor, not a state_dict"):
        read_checkpoint(tmp_path / "file.pt")


def test_lightlys_own_resnet():
    """lightly.models.ResNetGenerator: numbered children, shortcuts instead of downsamples."""
    timm_names = timm.create_model("resnet18", num_classes=0)
    shrink_stem(timm_names)
    stages = ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4"]
    weights = {}
    for name, value in timm_names.state_dict().items():
        stage, _, rest = name.partition(".")
        theirs = rest.replace("downsample", "shortcut")
        weights[f"backbone.{stages.index(stage)}.{theirs}"] = value + 1
    (candidate,) = [
        found
        for found in candidates({"state_dict": weights}, timm_names.state_dict())
        if len(found.notes) == 2 and found.prefix == "backbone."
    ]
    assert str(candidate) == (
        "state_dict: backbone.* (shortcut read as downsample, children by number)"
    )
    names = {key.removeprefix("backbone.") for key in candidate.weights}
    assert names == timm_names.state_dict().keys()
    downsample = "layer2.0.downsample.0.weight"
    expected = timm_names.state_dict()[downsample] + 1
    assert candidate.weights[f"backbone.{downsample}"].equal(expected)
