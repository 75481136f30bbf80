import json
from dataclasses import replace

import pytest
import torch
from torch import nn

import ssl_norm
from ssl_norm.commands.diagnose import diagnose
from ssl_norm.errors import UserError
from ssl_norm.models.encoders import build_encoder
from ssl_norm.models.heads import Classifier
from ssl_norm.monitors.spectral import spectral_monitors
from ssl_norm.settings.models import validate
from ssl_norm.train.checkpoint import save_checkpoint
from tests.evaluate.problems import coloured_images
from tests.evaluate.runs import save_run, source, write_images

HEAD = {"hidden_dim": 16, "output_dim": 8}
TINY = {"encoder": {"name": "tiny16"}}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return the settings of a folder of images without labels."""
    root = tmp_path_factory.mktemp("diagnose") / "photos"
    return source(write_images(root, replace(coloured_images(40, 16, 4, seed=0), labels=None)))


def collapse(learner):
    """Let the projector return one vector for all images."""
    nn.init.zeros_(learner.projector[3].weight)
    nn.init.ones_(learner.projector[3].bias)


def zero_encoder(learner):
    """Let the encoder return one vector for all images."""
    for weight in learner.encoder.stage3.parameters():
        nn.init.zeros_(weight)


@pytest.fixture
def collapsed_run(data, tmp_path):
    method = {"name": "byol", "projector": HEAD, "predictor": HEAD}
    folder = save_run(tmp_path / "run", tmp_path, collapse, method=method, data=data)
    contents = torch.load(folder / "last.pt", weights_only=True)
    contents["config"]["monitor"] = {"a_key_of_an_earlier_version": 1}
    torch.save(contents, folder / "last.pt")
    return folder


def run(checkpoint, **settings):
    given = {"checkpoint": str(checkpoint), "batch_size": 16, "device": "cpu"}
    return diagnose(validate("diagnose", given | settings))


def test_a_run_with_collapsed_projections(collapsed_run, capsys):
    result = run(collapsed_run)
    found = json.loads((collapsed_run / "diagnosis.json").read_text())
    assert (result.path, result.record["verdict"]) == (collapsed_run / "diagnosis.json", "complete")
    assert found["verdict"] == found["projections"]["verdict"] == "complete"
    assert found["features"]["verdict"] != "complete"
    assert found["collapse_begins_at"] == "projector.3"
    assert found["features"].keys() >= {*spectral_monitors(), "lidar", "evidence", "random_init"}
    names = [row["layer"] for row in found["layers"]]
    assert names[:2] == ["encoder.stem", "encoder.stem_bn"]
    assert names[-3:] == ["predictor.0", "predictor.1", "predictor.3"]
    assert (found["images"], found["step"]) == (40, 7)
    assert found["projections"]["random_init"]["feature_std"] > 0.1
    assert found["zones"].keys() == {"projections", "features"}
    assert "batch statistics" in found["random_init"]
    assert result.files["picture"].stat().st_size > 10_000
    output = capsys.readouterr()
    for text in (
        "tensors match (learner)",
        "no linear probe: data=folder has no labels here",
        "checkpoint: 2 views of 40 images, ",
        "random init: 2 views of 40 images, ",
    ):
        assert text in output.err
    for text in (
        "random: 40 images",
        "verdict: complete",
        "the collapse begins at layer projector.3",
    ):
        assert text in output.out


def test_features_of_labelled_images_are_scored_as_in_linear_eval(tmp_path, capsys):
    for part, count in (("train", 40), ("test", 20)):
        write_images(tmp_path / "photos" / part, coloured_images(count, 16, 4, seed=count))
    folder = save_run(tmp_path / "run", tmp_path / "photos", zero_encoder)
    found = run(folder)
    scored = ssl_norm.linear_eval(checkpoint=folder, device="cpu")
    compared = {name: value for name, value in found.record["probe"].items() if name != "labels"}
    assert compared == pytest.approx({name: scored.record[name] for name in compared})
    assert found.record["probe"]["labels"] == 40
    assert compared["top1"] == 0.25 < compared["top1_image_statistics"]
    printed = capsys.readouterr()
    assert printed.err.count("simple statistics are better than these features") == 2
    fewer = run(folder, samples=8, random_init=False).record
    assert (fewer["probe"]["labels"], fewer["images"]) == (8, 8)
    assert fewer["features"]["random_init"] is None


def solo_learn(path):
    """Write the weights of an encoder and an MLP projector with the names of solo-learn."""
    torch.manual_seed(1)
    encoder = build_encoder("tiny16", small_images=None, image_size=16)
    projector = nn.Sequential(nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 8))
    state = {f"backbone.{name}": value for name, value in encoder.state_dict().items()}
    state |= {f"projector.{name}": value for name, value in projector.state_dict().items()}
    torch.save({"state_dict": state}, path)
    return path


def test_files_that_differ_in_their_ending_get_different_records(data, tmp_path):
    for end in ("pt", "pth"):
        run(solo_learn(tmp_path / f"solo.{end}"), data=data, random_init=False, **TINY)
    assert {path.name for path in tmp_path.glob("*_diagnosis.*")} == {
        f"solo.{end}_diagnosis.{kind}" for end in ("pt", "pth") for kind in ("json", "png")
    }


def test_another_encoder_than_that_of_the_file(data, tmp_path):
    solo = solo_learn(tmp_path / "solo.ckpt")
    with pytest.raises(UserError, match=r"does not fit TinyResNet: \d+ of 50 tensors match"):
        run(solo, data=data, encoder={"name": "tiny64"})


def test_foreign_weights_with_a_projector(data, tmp_path, capsys):
    found = run(solo_learn(tmp_path / "solo.ckpt"), data=data, views=3, **TINY).record
    assert (tmp_path / "solo.ckpt_diagnosis.json").exists()
    layers = "Linear, batch norm and ReLU"
    assert found["projector"] == f"projections of projector, assumed to be {layers}"
    assert found["match"].startswith("50 of 50 tensors match (state_dict: backbone.*)")
    assert (found["unmatched"], found["step"]) == ([], 0)
    assert found["projections"]["verdict"] in ("healthy", "uncertain")
    layers = [row["layer"] for row in found["layers"]]
    assert layers[-3:] == ["projector.0", "projector.1", "projector.3"]
    assert "50 of 50 tensors match" in capsys.readouterr().err


def test_foreign_weights_without_a_projector_and_with_another_stem(data, tmp_path, capsys):
    torch.manual_seed(0)
    encoder = build_encoder("torchvision/resnet18", small_images=False, image_size=64)
    torch.save(encoder.state_dict(), tmp_path / "plain.pt")
    settings = {"data": data, "encoder": {"name": "torchvision/resnet18"}, "random_init": False}
    found = run(tmp_path / "plain.pt", **settings).record
    assert "projections" not in found
    assert found["unmatched"] == []
    printed = capsys.readouterr().err
    assert "encoder.small_images=false, because the tensors of the file fit" in printed
    assert "projections not measured: the file has no projector under a known name" in printed


def test_the_encoder_of_a_classifier(data, tmp_path):
    torch.manual_seed(0)
    classifier = Classifier(build_encoder("tiny16", small_images=None, image_size=16), 3, seed=0)
    saved = validate("finetune", {"data": data, "norm": {"encoder": "bn"}, **TINY})
    contents = {"config": saved.model_dump(mode="json") | {"augment": {}}, "step": 7}
    contents |= {"learner": classifier.state_dict(), "classes": ["a"]}
    save_checkpoint(tmp_path / "last.pt", contents)
    record = run(tmp_path / "last.pt", samples=40).record
    assert record["verdict"] == "healthy"
    assert record["unmatched"] == []
    assert "projections not measured" in record["projector"]
