import copy
import random
import re
from argparse import Namespace
from functools import cache

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from ssl_norm.errors import UserError
from ssl_norm.models.checkpoint_prefixes import candidates
from ssl_norm.models.encoders import build_encoder, first_convolution, shrink_stem
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


def vissl(weights):
    model = {
        "trunk": prefixed(weights, "_feature_blocks."),
        "heads": {"0.clf.0.weight": torch.ones(2)},
    }
    return {"phase_idx": 3, "classy_state_dict": {"base_model": {"model": model, "meta": {}}}}


def lightly_sequential(weights):
    """Return weights named as in a LightningModule whose backbone is made of encoder.children()."""
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


def solo_learn(weights):
    state = prefixed(other(weights), "momentum_backbone.") | prefixed(weights, "backbone.")
    return {"state_dict": state | {"projector.0.weight": torch.zeros(4, 16)}, "epoch": 3}


LAYOUTS = {
    "byol-pytorch": byol_pytorch,
    "imbue": imbue,
    "solo-learn": solo_learn,
    "vissl": vissl,
    "lightly, numbered children": lightly_sequential,
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
    report = load_encoder_weights(encoder, tmp_path / "file.pt")
    assert report.fits
    assert report.network == ("target" if layout in ("dino", "arguments of a script") else "online")
    assert all(torch.equal(encoder.state_dict()[name], weights[name]) for name in report.matched)
    assert set(report.matched) == {n for n, v in weights.items() if v.is_floating_point()}


@pytest.mark.parametrize("layout", ["byol", "moco", "lightly, numbered children", "imbue"])
def test_the_target_network_is_loaded_where_it_is_asked_for(layout, weights, tmp_path):
    torch.save(LAYOUTS[layout](weights), tmp_path / "file.pt")
    encoder = TinyResNet(4)
    report = load_encoder_weights(encoder, tmp_path / "file.pt", network="target")
    assert report.network == "target"
    expected = other(weights)
    assert all(torch.equal(value, expected[name]) for name, value in encoder.state_dict().items())


TWO = [("student", "teacher"), ("online", "target"), ("model", "model_ema"), ("query", "key")]


@pytest.mark.parametrize(("online", "target"), TWO)
@pytest.mark.parametrize("network", ["online", "target"])
def test_the_network_is_the_one_that_was_asked_for_whatever_the_order(
    online, target, network, weights, tmp_path
):
    networks = {online: weights, target: other(weights)}
    for number, names in enumerate([(online, target), (target, online)]):
        path = tmp_path / f"{number}.pt"
        torch.save({name: networks[name] for name in names}, path)
        encoder = TinyResNet(4)
        report = load_encoder_weights(encoder, path, network=network)
        name = online if network == "online" else target
        assert (report.network, report.source) == (network, f"{name}: *")
        assert encoder.stem.weight.equal(networks[name]["stem.weight"])


def test_a_file_without_a_target_network_says_so(weights, tmp_path):
    torch.save(weights, tmp_path / "file.pt")
    with pytest.raises(UserError, match="TinyResNet: the file has no target network"):
        load_encoder_weights(TinyResNet(4), tmp_path / "file.pt", network="target")


def test_places_that_fit_equally_well_are_refused_unless_they_are_equal(weights, tmp_path):
    path = tmp_path / "file.pt"
    torch.save({"first": weights, "second": other(weights)}, path)
    with pytest.raises(UserError, match=r"fits first: \* and second: \* equally well"):
        load_encoder_weights(TinyResNet(4), path)
    torch.save({"first": weights, "second": dict(weights)}, path)
    assert load_encoder_weights(TinyResNet(4), path).source == "first: *"
    # the online network of two is not replaced by a whole target
    damaged = {name: value for name, value in weights.items() if name != "stem.weight"}
    torch.save({"student": damaged, "teacher": weights}, path)
    with pytest.raises(UserError, match=r"\(student: \*\); 1 missing: stem.weight"):
        load_encoder_weights(TinyResNet(4), path)


def test_safetensors(weights, tmp_path):
    save_file(weights, tmp_path / "file.safetensors")
    assert load_encoder_weights(TinyResNet(4), tmp_path / "file.safetensors").fits


def test_other_network(tmp_path):
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "file.pt")
    with pytest.raises(UserError, match="has no weights of TinyResNet"):
        load_encoder_weights(TinyResNet(4), tmp_path / "file.pt")


ENCODERS = {
    "tiny16": 16,
    "resnet10t": 32,
    "mobilenetv3_small_050": 32,
    "convnext_atto": 32,
    "vit_tiny_patch16_224": 32,
}
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@cache
def trained(name):
    """Return an encoder whose every tensor differs from its initial value, and its features."""
    encoder = build(name)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in encoder.state_dict().values():
            if value.is_floating_point():
                value.add_(0.01 * torch.rand(value.shape, generator=generator))
        return encoder, encoder(IMAGES[..., : ENCODERS[name], : ENCODERS[name]])


def build(name):
    torch.manual_seed(0)
    return build_encoder(name, small_images=None, image_size=ENCODERS[name]).eval()


def load(name, contents, folder, **options):
    """Return the report and the features of an encoder that is loaded from a file."""
    torch.save(contents, folder / "file.pt")
    encoder = build(name)
    report = load_encoder_weights(encoder, folder / "file.pt", **options)
    with torch.no_grad():
        return report, encoder(IMAGES[..., : ENCODERS[name], : ENCODERS[name]])


def one_more_block(state, name):
    """Add a block like the last numbered one, which the encoder does not have."""
    numbered = re.compile(r"(.*?\d+)(\..*|$)")
    last = [numbered.fullmatch(each)[1] for each in state if numbered.fullmatch(each)][-1]
    more = last.rstrip("0123456789") + "77"
    copies = {k.replace(last, more, 1): v for k, v in state.items() if k.startswith(last)}
    return state | copies


DAMAGES = {
    "dropped": lambda state, name: {k: v for k, v in state.items() if k != name},
    "renamed": lambda state, name: {k if k != name else f"{k}_": v for k, v in state.items()},
    "resized": lambda state, name: state | {name: torch.cat([state[name], state[name]])},
    "quantized": lambda state, name: state | {name: state[name].to(torch.int8)},
    "one more block": one_more_block,
}
WORDINGS = {
    "prefix": lambda key: f"module.encoder_q.{key}",
    "several prefixes": lambda key: f"student.module.backbone.{key}",
    "compiled": lambda key: f"_orig_mod.{key}",
    "compiled block by block": lambda key: key.replace(".", "._orig_mod.", 1),
    "checkpointed": lambda key: key.replace(".", "._checkpoint_wrapped_module."),
    "in DDP, part by part": lambda key: f"model.{key.replace('.', '.module.', 1)}",
}


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused_and_changes_nothing(damage, name, tmp_path):
    encoder, _ = trained(name)
    state = dict(encoder.state_dict())
    names = [key for key, value in state.items() if value.is_floating_point() and value.ndim]
    choice = random.Random(f"{damage} {name}").choice(names)
    torch.save(DAMAGES[damage](state, choice), tmp_path / "file.pt")
    found = build(name)
    before = {key: value.clone() for key, value in found.state_dict().items()}
    said = "that the encoder lacks" if damage == "one more block" else f": {re.escape(choice)}"
    with pytest.raises(UserError, match=rf"\d+ of \d+ tensors match.*{said}") as error:
        load_encoder_weights(found, tmp_path / "file.pt")
    assert "\n" not in str(error.value)
    assert all(before[key].equal(value) for key, value in found.state_dict().items())


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("wording", WORDINGS)
def test_prefixes_and_wrappers_anywhere_give_equal_features(wording, name, tmp_path):
    encoder, features = trained(name)
    state = {WORDINGS[wording](key): value for key, value in encoder.state_dict().items()}
    report, found = load(name, {"state_dict": state, "fc.weight": torch.zeros(2, 2)}, tmp_path)
    assert torch.equal(found, features), report


def test_resized_positions_are_reported(tmp_path):
    name = "vit_tiny_patch16_224"
    state = dict(trained(name)[0].state_dict())
    token = state["pos_embed"][:, :1]
    ramp = torch.linspace(0, 1, 14)[:, None, None] * torch.ones(
        14, 14, state["cls_token"].shape[-1]
    )
    larger = torch.cat([token, ramp.reshape(1, 196, -1)], dim=1)
    report, _ = load(name, state | {"pos_embed": larger}, tmp_path)
    assert "1 converted: pos_embed from 14x14 to 2x2 positions" in str(report)
    found = build(name)
    load_encoder_weights(found, tmp_path / "file.pt")
    assert found.pos_embed[:, :1].equal(token)
    rows = found.pos_embed[0, 1:].view(2, 2, -1)[..., 0]
    assert torch.allclose(rows, torch.tensor([[0.25, 0.25], [0.75, 0.75]]), atol=0.03)
    not_square = state | {"pos_embed": larger[:, :-1]}
    with pytest.raises(UserError, match="1 of other shape: pos_embed"):
        load(name, not_square, tmp_path)


@pytest.mark.parametrize("name", ["tiny16", "resnet10t"])
def test_weights_for_grey_images_see_the_mean_of_colours(name, tmp_path):
    encoder, _ = trained(name)
    key = f"{first_convolution(encoder)[0]}.weight"
    grey = encoder.state_dict()[key].mean(1, keepdim=True)
    report, found = load(name, dict(encoder.state_dict()) | {key: grey}, tmp_path)
    assert report.converted == (f"{key} from grey to the mean of three colours",)
    expected = copy.deepcopy(encoder)
    expected.get_parameter(key).data = grey.expand(-1, 3, -1, -1)
    images = IMAGES[..., : ENCODERS[name], : ENCODERS[name]]
    with torch.no_grad():
        of_grey = expected(images.mean(1, keepdim=True).expand(-1, 3, -1, -1) / 3)
    torch.testing.assert_close(found, of_grey)
    with pytest.raises(UserError, match=f"1 of other shape: {key}"):
        load(name, dict(encoder.state_dict()) | {key: grey.expand(-1, 4, -1, -1)}, tmp_path)


def test_the_stem_of_the_record_is_compared(tmp_path):
    encoder, features = trained("resnet10t")
    contents = {"encoder": encoder.state_dict(), "encoder_record": {"small_images": True}}
    _, found = load("resnet10t", contents, tmp_path)
    assert torch.equal(found, features)
    plain = build_encoder("resnet10t", small_images=False, image_size=32)
    with pytest.raises(UserError, match=r"the stem of its encoder is 3x3 of stride 1"):
        load_encoder_weights(plain, tmp_path / "file.pt")


@pytest.mark.parametrize("value", [np.float64(0.5), np.arange(3), np.array(["a", None], object)])
def test_numbers_and_arrays_of_numpy_beside_the_weights_are_read(value, weights, tmp_path):
    torch.save({"state_dict": weights, "best": value, "path": tmp_path}, tmp_path / "file.pt")
    contents = read_checkpoint(tmp_path / "file.pt")
    assert np.array_equal(contents["best"], value)
    assert str(contents["path"]) == str(tmp_path)


class Harmful:
    def __reduce__(self):
        raise_if_run = "raise AssertionError('code in a checkpoint was run')"
        return exec, (raise_if_run,)


def test_code_in_a_file_is_not_run(tmp_path):
    torch.save({"model": Harmful()}, tmp_path / "file.pt")
    with pytest.raises(
        UserError, match="contains exec; for safety, only tensors, numbers and text"
    ):
        read_checkpoint(tmp_path / "file.pt")


@pytest.mark.parametrize(
    ("name", "contents", "message"),
    [
        ("file.pt", b"PK\x03\x04 cut off", r"file.pt is not a readable checkpoint.*copy it again"),
        ("file.pt", b"hello world", r"file.pt is no.* checkpoint.*torch\.save"),
        ("file.pt", None, "there is no checkpoint file"),
        ("file.pt", torch.zeros(3), "contains a Tensor, not a state_dict"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_one_clear_line(name, contents, message, tmp_path):
    if isinstance(contents, bytes):
        (tmp_path / name).write_bytes(contents)
    elif contents is not None:
        torch.save(contents, tmp_path / name)
    with pytest.raises(UserError, match=message) as caught:
        read_checkpoint(tmp_path / name)
    assert "\n" not in str(caught.value)


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
    layers = ["conv1", "bn1", "act1", *stages[2:]]
    (candidate,) = [
        found
        for found in candidates({"state_dict": weights}, timm_names.state_dict(), layers)
        if len(found.notes) == 3 and found.prefix == "backbone."
    ]
    assert str(candidate) == (
        "state_dict: backbone.* (shortcut read as downsample, children by number, "
        "which has no act1, as this encoder has)"
    )
    names = {key.removeprefix("backbone.") for key in candidate.weights}
    assert names == timm_names.state_dict().keys()
    downsample = "layer2.0.downsample.0.weight"
    expected = timm_names.state_dict()[downsample] + 1
    assert candidate.weights[f"backbone.{downsample}"].equal(expected)


def test_heads_of_timm_classifiers_are_not_used(tmp_path):
    for name in ("convnext_atto", "mobilenetv3_small_050"):
        full = timm.create_model(name, num_classes=3)
        state = full.state_dict() | dict(trained(name)[0].state_dict())
        torch.save(state, tmp_path / "file.pt")
        report = load_encoder_weights(timm.create_model(name, num_classes=0), tmp_path / "file.pt")
        assert {name.split(".")[-1] for name in report.unused} == {"weight", "bias"}
