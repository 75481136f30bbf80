import json

import pytest
import torch
from PIL import Image
from torch import nn

from ssl_norm.commands.diagnose import diagnose
from ssl_norm.config import (
    ByolConfig,
    DataConfig,
    DataOverride,
    DiagnoseConfig,
    EncoderConfig,
    EncoderOverride,
    FinetuneConfig,
    FinetuneNormConfig,
    HeadConfig,
    PretrainConfig,
)
from ssl_norm.errors import UserError
from ssl_norm.models.classifier import Classifier
from ssl_norm.models.encoders import build_encoder
from ssl_norm.monitors.registry import MONITORS
from ssl_norm.train.builder import initial_encoder, make_learner
from ssl_norm.train.checkpoint import save_checkpoint
from tests.evaluate.problems import coloured_images


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Return a folder of images without labels."""
    root = tmp_path_factory.mktemp("photos")
    for index, image in enumerate(coloured_images(40, 16, 4, seed=0).pixels):
        Image.fromarray(image.numpy()).save(root / f"{index:03d}.png")
    return root


@pytest.fixture
def data(photos, tmp_path):
    return DataOverride(
        name="folder", root=str(photos), image_size=16, cache_dir=str(tmp_path / "cache"), workers=0
    )


@pytest.fixture
def collapsed_run(data, tmp_path):
    """Return the folder of a BYOL run whose projector gives one vector for all images."""
    head = HeadConfig(hidden_dim=16, output_dim=8)
    config = PretrainConfig(
        method=ByolConfig(projector=head, predictor=head),
        data=DataConfig(**{name: value for name, value in vars(data).items() if value is not None}),
        encoder=EncoderConfig(name="tiny16"),
    )
    learner = make_learner(config, initial_encoder(config)[0])
    nn.init.zeros_(learner.projector[3].weight)
    nn.init.ones_(learner.projector[3].bias)
    folder = tmp_path / "run"
    folder.mkdir()
    saved = config.model_dump(mode="json")
    saved["monitor"] = {"a_key_of_an_earlier_version": 1}
    contents = {"config": saved, "step": 7, "learner": learner.state_dict()}
    save_checkpoint(folder / "last.pt", contents)
    return folder


def run(checkpoint, **settings):
    config = DiagnoseConfig(checkpoint=str(checkpoint), batch_size=16, device="cpu", **settings)
    diagnose(config)


def test_a_run_with_collapsed_projections(collapsed_run, capsys):
    run(collapsed_run)
    found = json.loads((collapsed_run / "diagnosis.json").read_text())
    assert found["verdict"] == found["projections"]["verdict"] == "complete"
    assert found["features"]["verdict"] != "complete"
    assert found["collapse_begins_at"] == "projector.3"
    assert found["features"].keys() >= {*MONITORS, "dimensions", "evidence", "random_init"}
    names = [row["layer"] for row in found["layers"]]
    assert names[:2] == ["encoder.stem", "encoder.stem_bn"]
    assert names[-3:] == ["predictor.0", "predictor.1", "predictor.3"]
    assert found["images"] == 40
    assert found["step"] == 7
    assert found["projections"]["random_init"]["feature_std"] > 0.1
    assert (collapsed_run / "diagnosis.png").stat().st_size > 10_000
    output = capsys.readouterr()
    assert "tensors match (learner)" in output.err
    assert "checkpoint: 2 views of 40 images, " in output.err
    assert "random init: 2 views of 40 images, " in output.err
    assert found["zones"].keys() == {"projections", "features"}
    assert "statistics of each batch" in found["random_init"]
    assert "zones: projections: complete above negative cosine 0.99" in output.out
    assert "random: of 40 images" in output.out
    assert "verdict: complete" in output.out
    assert "the collapse begins at layer projector.3" in output.out


def test_the_same_seed_gives_the_same(collapsed_run):
    for name in ("a.json", "b.json"):
        run(collapsed_run, output=str(collapsed_run / name), samples=20, random_init=False)
        torch.rand(1)
    first, second = (json.loads((collapsed_run / n).read_text()) for n in ("a.json", "b.json"))
    assert first == second
    assert first["images"] == 20
    assert first["features"]["random_init"] is None


def test_weights_that_are_not_finite(collapsed_run):
    contents = torch.load(collapsed_run / "last.pt", weights_only=True)
    contents["learner"]["encoder.stem.weight"].fill_(torch.nan)
    torch.save(contents, collapsed_run / "last.pt")
    with pytest.raises(UserError) as refused:
        run(collapsed_run)
    assert str(refused.value) == (
        "the checkpoint's weights give features that are not finite: encoder.stem.weight is the "
        "first of its tensors that is not finite; use an earlier checkpoint"
    )


def test_files_that_differ_in_their_ending_do_not_overwrite_each_other(data, tmp_path):
    for name in ("solo.pt", "solo.pth"):
        solo_learn(tmp_path / name)
        run(tmp_path / name, data=data, encoder=EncoderOverride(name="tiny16"), random_init=False)
    written = {path.name for path in tmp_path.glob("*_diagnosis.*")}
    assert written == {
        f"solo.{end}_diagnosis.{kind}" for end in ("pt", "pth") for kind in ("json", "png")
    }


def solo_learn(path):
    torch.manual_seed(1)
    encoder = build_encoder("tiny16", small_images=None, image_size=16)
    projector = nn.Sequential(nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 8))
    state = {f"backbone.{name}": value for name, value in encoder.state_dict().items()}
    state |= {f"projector.{name}": value for name, value in projector.state_dict().items()}
    torch.save({"state_dict": state}, path)


def test_foreign_weights_with_a_projector(data, tmp_path, capsys):
    solo_learn(tmp_path / "solo.ckpt")
    run(tmp_path / "solo.ckpt", data=data, encoder=EncoderOverride(name="tiny16"), views=3)
    found = json.loads((tmp_path / "solo.ckpt_diagnosis.json").read_text())
    assert found["projector"] == "projections of projector, taken to be Linear, batch norm and ReLU"
    assert found["match"].startswith("50 of 50 tensors match (state_dict: backbone.*)")
    assert found["unmatched"] == []
    assert found["projections"]["verdict"] in ("healthy", "uncertain")
    assert [row["layer"] for row in found["layers"]][-3:] == [
        "projector.0",
        "projector.1",
        "projector.3",
    ]
    assert "50 of 50 tensors match" in capsys.readouterr().err


def test_foreign_weights_without_a_projector_and_with_another_stem(data, tmp_path, capsys):
    torch.manual_seed(0)
    encoder = build_encoder("torchvision/resnet18", small_images=False, image_size=64)
    torch.save(encoder.state_dict(), tmp_path / "plain.pt")
    settings = {
        "data": data,
        "encoder": EncoderOverride(name="torchvision/resnet18"),
        "random_init": False,
    }
    run(tmp_path / "plain.pt", **settings)
    found = json.loads((tmp_path / "plain.pt_diagnosis.json").read_text())
    assert "projections" not in found
    assert found["unmatched"] == []
    said = capsys.readouterr().err
    assert "encoder.small_images=false, the stem that the file has" in said
    assert "projections not looked at: the file has no projector under a known name" in said


def test_weights_that_do_not_fit(data, tmp_path):
    solo_learn(tmp_path / "solo.ckpt")
    with pytest.raises(UserError, match=r"does not fit TinyResNet: \d+ of 50 tensors match"):
        run(tmp_path / "solo.ckpt", data=data, encoder=EncoderOverride(name="tiny64"))


def test_what_the_user_left_out(collapsed_run, data, tmp_path):
    solo_learn(tmp_path / "solo.ckpt")
    with pytest.raises(UserError, match="does not say which encoder"):
        run(tmp_path / "solo.ckpt", data=data)
    with pytest.raises(UserError, match="does not say which data"):
        run(tmp_path / "solo.ckpt", encoder=EncoderOverride(name="tiny16"))
    with pytest.raises(UserError, match="no such file or run folder"):
        run(tmp_path / "nowhere.pt")


def test_the_encoder_of_a_classifier(data, tmp_path):
    settings = {name: value for name, value in vars(data).items() if value is not None}
    config = FinetuneConfig(
        data=DataConfig(**settings),
        encoder=EncoderOverride(name="tiny16"),
        norm=FinetuneNormConfig(encoder="bn"),
    )
    torch.manual_seed(0)
    classifier = Classifier(build_encoder("tiny16", small_images=None, image_size=16), 3, seed=0)
    saved = config.model_dump(mode="json") | {"augment": {}}
    contents = {"config": saved, "step": 7, "learner": classifier.state_dict(), "classes": ["a"]}
    save_checkpoint(tmp_path / "last.pt", contents)
    diagnose(DiagnoseConfig(checkpoint=str(tmp_path / "last.pt"), data=data, samples=40))
    record = json.loads((tmp_path / "diagnosis.json").read_text())
    assert record["verdict"] == "healthy"
    assert record["unmatched"] == []
    assert "projections not looked at" in record["projector"]
