import pytest
import torch

import ssl_norm
from ssl_norm.errors import UserError
from ssl_norm.evaluate.checkpoint import Checkpoint
from ssl_norm.models.encoders import build_encoder
from ssl_norm.settings.pretrain import NormSettings, PretrainSettings
from ssl_norm.settings.sections import DataSettings, EncoderOverride, EncoderSettings
from ssl_norm.settings.tools import DataOverride
from ssl_norm.train.checkpoint import save_checkpoint
from tests.evaluate.runs import save_run

SAVED = PretrainSettings(
    method={"name": "byol"},
    data=DataSettings(name="folder", root="/old", image_size=96, limit=500, test_fraction=0.3),
    encoder=EncoderSettings(name="resnet18", small_images=True),
    norm=NormSettings(encoder={"name": "gn", "groups": 8}),
    seed=5,
).model_dump(mode="json")


@pytest.fixture
def read(tmp_path):
    """Return a reader of a run with the settings SAVED, with overrides by section."""

    def read(saved=SAVED, learner=None, step=7, **overrides):
        path = tmp_path / "last.pt"
        if saved is None:
            torch.save({"weight": torch.zeros(1)}, path)
        else:
            save_checkpoint(path, {"config": saved, "step": step, "learner": learner or {}})
        return Checkpoint.read(tmp_path, overrides)

    return read


def test_settings_are_those_of_the_checkpoint(read):
    checkpoint = read()
    assert (checkpoint.kind, checkpoint.step) == ("run", 7)
    assert (checkpoint.encoder_name, checkpoint.small_images) == ("resnet18", True)
    assert checkpoint.norm == {"name": "gn", "groups": 8}
    assert checkpoint.data.items() >= {
        "name": "folder", "root": "/old", "image_size": 96, "test_fraction": 0.3,
    }.items()  # fmt: skip
    assert checkpoint.mean == tuple(SAVED["augment"]["mean"])
    assert checkpoint.std == tuple(SAVED["augment"]["std"])
    assert (checkpoint.trained_size, checkpoint.view_size, checkpoint.seed) == (96, 96, 5)
    assert checkpoint.limit == 500


def test_null_overrides_change_nothing(read):
    nothing = {
        room: dict.fromkeys(names)
        for room, names in (
            ("encoder", ("name", "small_images")), ("norm", ("encoder",)),
            ("augment", ("mean", "std")), ("data", ("name", "root")),
        )
    }  # fmt: skip
    assert read(**nothing, seed=3) == read()


def test_the_same_source_keeps_its_settings_and_another_only_the_size_of_a_view(read):
    checkpoint = read(data={"name": "folder", "root": "/new"})
    assert checkpoint.data == {**read().data, "root": "/new"}
    assert checkpoint.limit is None
    assert read(data={"name": "digits"}).data == {"name": "digits", "image_size": 96}
    checkpoint = read(data={"image_size": 64})
    assert (checkpoint.view_size, checkpoint.trained_size) == (64, 96)


def test_encoder_norm_and_pixels_are_overridden(read):
    checkpoint = read(
        encoder={"name": "resnet50"}, norm={"encoder": "gn+ws"}, augment={"mean": [0.1, 0.2, 0.3]}
    )
    assert (checkpoint.encoder_name, checkpoint.small_images) == ("resnet50", True)
    assert checkpoint.norm == "gn+ws"
    assert checkpoint.mean == (0.1, 0.2, 0.3)
    assert str(checkpoint.settings().norm.encoder) == "gn+ws"
    assert checkpoint.settings().encoder.name == "resnet50"


def test_foreign_weights_need_an_encoder_and_data(read):
    with pytest.raises(UserError, match=r"does not say which encoder it holds; add encoder.name="):
        read(None, data={"name": "digits"})
    with pytest.raises(UserError, match="does not say which data to evaluate on; add data="):
        read(None, encoder={"name": "resnet18"})


def test_foreign_weights_keep_their_own_norms_and_the_pixels_of_imagenet(read):
    checkpoint = read(None, encoder={"name": "tiny"}, data={"name": "digits"}, seed=3)
    assert (checkpoint.kind, checkpoint.step, checkpoint.saved) == ("weights", None, {})
    assert (checkpoint.norm, checkpoint.small_images, checkpoint.seed) == (None, None, 3)
    assert checkpoint.mean == (0.485, 0.456, 0.406)
    assert (checkpoint.trained_size, checkpoint.view_size) == (16, 16)


def test_unknown_keys_of_data_are_left_out(read):
    saved = {**SAVED, "data": {"name": "digits", "colour_space": "lab", "limit": 5}}
    assert len(read(saved).images().pretrain) > 1000


def test_files_that_cannot_be_read(read, tmp_path):
    with pytest.raises(UserError, match=r"augment.mean: three values"):
        read(augment={"mean": [0.5, 0.5]})
    torch.save({"format": 99, "config": {}, "learner": {}}, tmp_path / "99.pt")
    for damage in ({"name": 5}, {"small_images": "yes"}, {"mean": 0.5}):
        record = {"encoder": {"w": torch.zeros(1)}, "encoder_record": damage}
        torch.save(record, tmp_path / f"{next(iter(damage))}.pt")
    (tmp_path / "folder").mkdir()
    for name, message in (
        ("nowhere.pt", "nowhere.pt: there is no such file or run folder"),
        ("folder", "a folder without last.pt; name a run or a file"),
        ("99.pt", "has format 99; this version reads 1"),
        ("name.pt", "encoder_record of the checkpoint is damaged: name=5"),
        ("small_images.pt", "encoder_record of the checkpoint is damaged: small_images='yes'"),
        ("mean.pt", "encoder_record of the checkpoint is damaged: mean=0.5"),
    ):
        with pytest.raises(UserError, match=message):
            Checkpoint.read(tmp_path / name, {})


def test_the_file_is_read_once(read, monkeypatch):
    encoder = build_encoder("tiny16", small_images=None, image_size=16)
    weights = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    saved = {**SAVED, "encoder": {"name": "tiny16"}, "norm": {"encoder": "bn"}}
    checkpoint = read(saved, weights)
    checkpoint.path.unlink()
    assert checkpoint.encoder()[1].fits


def test_the_untrained_encoder_is_the_one_that_the_run_began_with(read):
    torch.manual_seed(5)
    began_with = build_encoder("tiny16", small_images=None, image_size=16).state_dict()
    checkpoint = read(encoder={"name": "tiny16"}, norm={"encoder": "bn"})
    found = checkpoint.untrained_encoder().state_dict()
    assert all(found[name].equal(value) for name, value in began_with.items())


def test_the_stem_is_the_one_of_training(read):
    data = {"name": "digits", "image_size": 32}
    saved = {"data": data, "encoder": {"name": "torchvision/resnet18"}, "norm": {"encoder": "bn"}}
    checkpoint = read(saved, data={"image_size": 96})
    assert checkpoint.untrained_encoder().state_dict()["conv1.weight"].shape[-1] == 3


def test_an_encoder_is_used_with_the_stem_of_its_training(tmp_path, capsys):
    """resnet10t has tensors of the same shapes with both stems, and other features."""
    folder = save_run(tmp_path / "run", tmp_path, encoder={"name": "resnet10t"})
    contents = torch.load(folder / "last.pt", weights_only=True)
    record = contents["encoder_record"]
    assert (record["name"], record["small_images"], record["image_size"]) == ("resnet10t", True, 16)
    state = {
        name.removeprefix("encoder."): value
        for name, value in contents["learner"].items()
        if name.startswith("encoder.")
    }
    trained = build_encoder("resnet10t", small_images=True, image_size=16).eval()
    trained.load_state_dict(state)
    pixels = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8)
    encoder, view = ssl_norm.load_encoder(folder)
    expected = trained(view(pixels))
    assert torch.equal(encoder(view(pixels)), expected)
    with pytest.raises(UserError, match=r"encoder.small_images=false: the encoder in .* with true"):
        ssl_norm.load_encoder(folder, encoder={"small_images": False})
    weights = {"encoder": {"name": "resnet10t"}, "data": {"name": "digits"}}
    torch.save(state, tmp_path / "state.pt")  # which tells no stem
    plain, _ = ssl_norm.load_encoder(tmp_path / "state.pt", **weights)
    assert not torch.allclose(plain(view(pixels)), expected, atol=0.01)
    assert "does not tell the stride of its stem" in capsys.readouterr().err
    checkpoint = Checkpoint.read(tmp_path / "state.pt", weights | {"encoder": record})
    checkpoint.save_as(tmp_path / "exact.pt", checkpoint.encoder()[0])
    again, _ = ssl_norm.load_encoder(tmp_path / "exact.pt", data={"name": "digits"})
    assert torch.equal(again(view(pixels)), expected)


def test_changes_of_norm_and_pixels_are_said(tmp_path, capsys):
    folder = save_run(tmp_path / "run", tmp_path)
    changes = {"norm": {"encoder": "gn"}, "augment": {"mean": [0.5, 0.5, 0.5]}}
    ssl_norm.load_encoder(folder, **changes)
    printed = capsys.readouterr().err
    assert "evaluated with norm.encoder=gn, trained with bn" in printed
    assert "evaluated with augment.mean=[0.5, 0.5, 0.5], trained with" in printed
    with pytest.raises(UserError, match=r"\d+ missing: "):
        ssl_norm.load_encoder(
            save_run(tmp_path / "gn", tmp_path, norm={"encoder": "gn"}), norm={"encoder": "bn"}
        )


def test_an_encoder_that_takes_one_size_only(read):
    vit = {"encoder": {"name": "vit_tiny_patch16_224"}, "norm": {"encoder": "ln"}}
    saved = {**vit, "data": {"name": "digits", "image_size": 32}}
    read(saved).untrained_encoder()
    with pytest.raises(UserError, match=r"trained on 32 px does not take 48 px; set data.image_s"):
        read(saved, data={"image_size": 48}).untrained_encoder()


def test_overrides_have_the_keys_of_what_they_override():
    names = set(DataSettings.model_fields)
    assert set(DataOverride.model_fields) == names - {"limit", "resident"}
    assert set(EncoderOverride.model_fields) < set(EncoderSettings.model_fields)
    assert all(value is None for value in DataOverride().model_dump().values())
