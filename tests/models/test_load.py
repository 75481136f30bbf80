import copy
import random
import re

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from ssl_norm.errors import UserError
from ssl_norm.models.encoders import build_encoder, first_convolution, shrink_stem
from ssl_norm.models.load import load_encoder_weights, read_checkpoint
from tests.models.files import DAMAGES, ENCODERS, LAYOUTS, build, images, other, prefixed, trained

VIT = "vit_tiny_patch16_224"


@pytest.fixture
def weights():
    return dict(trained("tiny16")[0].state_dict())


def load(name, contents, folder, **options):
    """Return the report and the features of an encoder that is loaded from a file."""
    torch.save(contents, folder / "file.pt")
    encoder = build(name)
    report = load_encoder_weights(encoder, folder / "file.pt", **options)
    with torch.no_grad():
        return report, encoder(images(name))


def numbered(weights):
    """Return weights named as in a nn.Sequential of the children, as of lightly."""
    children = dict.fromkeys(name.partition(".")[0] for name in weights)
    numbers = {child: 2 * place for place, child in enumerate(children)}
    parts = {name: name.partition(".") for name in weights}
    named = {f"{numbers[p[0]]}.{p[2]}": weights[name] for name, p in parts.items()}
    return prefixed(named, "backbone.") | prefixed(other(named), "backbone_momentum.")


ANYWHERE = ("compiled block by block", "checkpointed", "DDP, part by part")
CASES = [
    *(("tiny16", layout) for layout in LAYOUTS),
    *((name, layout) for name in ENCODERS if name != "tiny16" for layout in ANYWHERE),
]


@pytest.mark.parametrize(("name", "layout"), CASES)
def test_any_layout_gives_equal_features(name, layout, tmp_path):
    encoder, features = trained(name)
    state = dict(encoder.state_dict())
    report, found = load(name, LAYOUTS[layout](state), tmp_path)
    assert torch.equal(found, features), report
    assert report.network == "online"
    assert set(report.matched) == {n for n, v in state.items() if v.is_floating_point()}


def test_children_by_number(weights, tmp_path):
    _, found = load("tiny16", {"state_dict": numbered(weights)}, tmp_path)
    assert torch.equal(found, trained("tiny16")[1])
    expected = other(weights)
    encoder = build("tiny16")
    report = load_encoder_weights(encoder, tmp_path / "file.pt", network="target")
    assert report.network == "target"
    assert all(value.equal(expected[name]) for name, value in encoder.state_dict().items())


def test_an_only_network_is_read_and_named(weights, tmp_path):
    report, found = load("tiny16", {"teacher": weights}, tmp_path)
    assert report.network == "target"
    assert torch.equal(found, trained("tiny16")[1])


TWO = [("student", "teacher"), ("online", "target"), ("model", "model_ema"), ("query", "key")]


@pytest.mark.parametrize("names", [*TWO, *(pair[::-1] for pair in TWO)])
def test_the_network_is_the_one_that_was_asked_for_whatever_the_order(names, weights, tmp_path):
    online, target = names if names in TWO else names[::-1]
    networks = {online: weights, target: other(weights)}
    for network, name in (("online", online), ("target", target)):
        contents = {name: networks[name] for name in names}
        report, _ = load("tiny16", contents, tmp_path, network=network)
        assert (report.network, report.source) == (network, f"{name}: *")
        assert report.values["stem.weight"].equal(networks[name]["stem.weight"])


def test_places_that_fit_equally_well_are_refused_unless_they_are_equal(weights, tmp_path):
    path = tmp_path / "file.pt"
    torch.save({"first": weights, "second": other(weights)}, path)
    with pytest.raises(UserError, match=r"fits first: \* and second: \* equally well"):
        load_encoder_weights(build("tiny16"), path)
    torch.save({"first": weights, "second": dict(weights)}, path)
    assert load_encoder_weights(build("tiny16"), path).source == "first: *"
    # the online network of two is not replaced by a whole target
    damaged = {name: value for name, value in weights.items() if name != "stem.weight"}
    torch.save({"student": damaged, "teacher": weights}, path)
    with pytest.raises(UserError, match=r"\(student: \*\); 1 missing: stem.weight"):
        load_encoder_weights(build("tiny16"), path)


def test_safetensors(weights, tmp_path):
    save_file(weights, tmp_path / "file.safetensors")
    assert load_encoder_weights(build("tiny16"), tmp_path / "file.safetensors").fits


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused_and_changes_nothing(damage, name, tmp_path):
    encoder, _ = trained(name)
    state = dict(encoder.state_dict())
    names = [k for k, v in state.items() if v.is_floating_point() and v.ndim and "." in k]
    choice = random.Random(f"{damage} {name}").choice(names)
    torch.save(DAMAGES[damage](state, choice), tmp_path / "file.pt")
    found = build(name)
    before = {key: value.clone() for key, value in found.state_dict().items()}
    by_block = {"one more block": "that the encoder lacks", "without a block": "missing"}
    said = by_block.get(damage, f": {re.escape(choice)}")
    with pytest.raises(UserError, match=rf"\d+ of \d+ tensors match.*{said}") as error:
        load_encoder_weights(found, tmp_path / "file.pt")
    assert "\n" not in str(error.value)
    assert all(before[key].equal(value) for key, value in found.state_dict().items())


def test_resized_positions_are_reported(tmp_path):
    state = dict(trained(VIT)[0].state_dict())
    token = state["pos_embed"][:, :1]
    ramp = torch.linspace(0, 1, 14)[:, None, None] * torch.ones(
        14, 14, state["cls_token"].shape[-1]
    )
    larger = torch.cat([token, ramp.reshape(1, 196, -1)], dim=1)
    report, _ = load(VIT, state | {"pos_embed": larger}, tmp_path)
    assert "1 converted: pos_embed from 14x14 to 2x2 positions" in str(report)
    found = build(VIT)
    load_encoder_weights(found, tmp_path / "file.pt")
    assert found.pos_embed[:, :1].equal(token)
    rows = found.pos_embed[0, 1:].view(2, 2, -1)[..., 0]
    assert torch.allclose(rows, torch.tensor([[0.25, 0.25], [0.75, 0.75]]), atol=0.03)
    not_square = state | {"pos_embed": larger[:, :-1]}
    with pytest.raises(UserError, match="1 of other shape: pos_embed"):
        load(VIT, not_square, tmp_path)


@pytest.mark.parametrize("name", ["tiny16", "resnet10t"])
def test_weights_for_grey_images_see_the_mean_of_colours(name, tmp_path):
    encoder, _ = trained(name)
    key = f"{first_convolution(encoder)[0]}.weight"
    grey = encoder.state_dict()[key].mean(1, keepdim=True)
    report, found = load(name, dict(encoder.state_dict()) | {key: grey}, tmp_path)
    assert report.converted == (f"{key} from grey to the mean of three colours",)
    expected = copy.deepcopy(encoder)
    expected.get_parameter(key).data = grey.expand(-1, 3, -1, -1)
    with torch.no_grad():
        of_grey = expected(images(name).mean(1, keepdim=True).expand(-1, 3, -1, -1) / 3)
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


@pytest.mark.parametrize(
    ("contents", "network", "message"),
    [
        (b"PK\x03\x04 cut off", "online", "file.pt is not a readable checkpoint.*copy it again"),
        (b"hello world", "online", r"file.pt is no.* checkpoint.*torch\.save"),
        (None, "online", "there is no checkpoint file"),
        (torch.zeros(3), "online", "contains a Tensor, not a state_dict"),
        (
            {"model": Harmful()},
            "online",
            "contains exec; for safety, only tensors, numbers and tex",
        ),
        (nn.Linear(2, 2).state_dict(), "online", "has no weights of TinyResNet"),
        (build("tiny16").state_dict(), "target", "TinyResNet: the file has no target network"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_one_clear_line(contents, network, message, tmp_path):
    path = tmp_path / "file.pt"
    if isinstance(contents, bytes):
        path.write_bytes(contents)
    elif contents is not None:
        torch.save(contents, path)
    with pytest.raises(UserError, match=message) as caught:
        load_encoder_weights(build("tiny16"), path, network=network)
    assert "\n" not in str(caught.value)


def test_lightlys_own_resnet(tmp_path):
    """lightly.models.ResNetGenerator: numbered children, shortcuts instead of downsamples."""
    encoder = timm.create_model("resnet18", num_classes=0)
    shrink_stem(encoder)
    stages = ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4"]
    expected = {name: value + 1 for name, value in encoder.state_dict().items()}
    weights = {}
    for name, value in expected.items():
        stage, _, rest = name.partition(".")
        theirs = rest.replace("downsample", "shortcut")
        weights[f"backbone.{stages.index(stage)}.{theirs}"] = value
    torch.save({"state_dict": weights}, tmp_path / "file.pt")
    report = load_encoder_weights(encoder, tmp_path / "file.pt")
    assert report.source == (
        "state_dict: backbone.* (shortcut read as downsample, children by number, "
        "which has no act1, as this encoder has)"
    )
    found = encoder.state_dict()
    assert all(found[name].equal(expected[name]) for name in report.matched)


def test_heads_of_timm_classifiers_are_not_used(tmp_path):
    for name in ("convnext_atto", "mobilenetv3_small_050"):
        full = timm.create_model(name, num_classes=3)
        state = full.state_dict() | dict(trained(name)[0].state_dict())
        torch.save(state, tmp_path / "file.pt")
        report = load_encoder_weights(timm.create_model(name, num_classes=0), tmp_path / "file.pt")
        assert {name.split(".")[-1] for name in report.unused} == {"weight", "bias"}
