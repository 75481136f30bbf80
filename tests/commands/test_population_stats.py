import json

import pytest
import torch
from PIL import Image

from ssl_norm.commands.population_stats import population_stats
from ssl_norm.config import (
    ByolConfig,
    DataConfig,
    DataOverride,
    EncoderConfig,
    EncoderOverride,
    HeadConfig,
    KnnConfig,
    MocoV2Config,
    NormConfig,
    PopulationStatsConfig,
    PretrainConfig,
)
from ssl_norm.errors import UserError
from ssl_norm.models.encoders import build_encoder
from ssl_norm.models.load import load_encoder_weights
from ssl_norm.train.builder import initial_encoder, make_learner
from ssl_norm.train.checkpoint import load_checkpoint, save_checkpoint
from ssl_norm.train.run_settings import plain_config
from tests.commands.test_linear_eval import write_images
from tests.evaluate.problems import coloured_images

HEAD = HeadConfig(hidden_dim=8, output_dim=4)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    write_images(root / "train", coloured_images(24, 16, 3, seed=0))
    write_images(root / "test", coloured_images(12, 16, 3, seed=1))
    return root


@pytest.fixture
def run(tmp_path, photos):
    return make_run(tmp_path, photos, ByolConfig(projector=HEAD, predictor=HEAD))


def make_run(tmp_path, photos, method, **norms):
    """Return a run folder with the last.pt that pretraining leaves, and statistics far off."""
    data = DataConfig(
        name="folder", root=str(photos), image_size=16, cache_dir=str(tmp_path / "cache"), workers=0
    )
    config = PretrainConfig(
        method=method, data=data, encoder=EncoderConfig(name="tiny16"), norm=NormConfig(**norms)
    )
    learner = make_learner(config, initial_encoder(config)[0])
    for name, buffer in learner.named_buffers():
        if name.endswith("running_mean"):
            buffer.fill_(3)
    folder = tmp_path / "run"
    folder.mkdir()
    content = {"config": plain_config(config), "step": 7, "optimizer": {}, "monitor": {}}
    save_checkpoint(folder / "last.pt", content | {"learner": learner.state_dict()})
    return folder


def recompute(checkpoint, **settings):
    given = {"samples": 48, "batch_size": 12, "knn": KnnConfig(k=5), "device": "cpu"} | settings
    return population_stats(PopulationStatsConfig(checkpoint=str(checkpoint), **given))


def test_a_run_gets_a_checkpoint_with_exact_statistics(run, capsys):
    recompute(run)
    before, after = (load_checkpoint(run / name) for name in ("last.pt", "last_exact.pt"))
    assert {key: after[key] for key in ("config", "step", "format")} == {
        key: before[key] for key in ("config", "step", "format")
    }
    changed = {
        name
        for name, value in after["learner"].items()
        if not torch.equal(value, before["learner"][name])
    }
    statistics = {name for name in after["learner"] if ".running_" in name}
    assert changed == statistics
    assert {name.split(".")[0] for name in changed} == {
        "encoder", "projector", "predictor", "target",
    }  # fmt: skip
    found = json.loads((run / "population_stats.json").read_text())
    assert found["evaluations"].keys() == {"population", "exact", "batch"}
    assert all(0 <= value["top1"] <= 1 for value in found["evaluations"].values())
    assert (found["views"], found["batches"], found["chance"]) == ("train", 4, 1 / 3)
    assert found["layers"]["projector.1"]["mean_shift"] > 1
    assert found["layers"]["projector.1"]["values"] == 2 * 48  # both views
    assert (run / "population_stats.png").stat().st_size > 0
    output = capsys.readouterr().out
    for word in ("encoder.stem_bn", "population", "exact", "batch", "written to"):
        assert word in output
    encoder = build_encoder("tiny16", small_images=None, image_size=16)
    report = load_encoder_weights(encoder, run / "last_exact.pt")
    assert report.match == 1


def test_same_seed_same_statistics(run):
    recompute(run, output=str(run / "a.pt"))
    torch.rand(1)
    recompute(run, output=str(run / "b.pt"))
    first, second = (load_checkpoint(run / name)["learner"] for name in ("a.pt", "b.pt"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_plain_views_are_the_images_once(run):
    recompute(run, views="plain", samples=1000)
    found = json.loads((run / "population_stats.json").read_text())
    assert (found["batches"], found["samples"]) == (24 // 12, 24)
    pixels = coloured_images(24, 16, 3, seed=0).images.float() / 255
    stem = load_checkpoint(run / "last_exact.pt")["learner"]
    mean, std = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
    images = ((pixels - mean) / std).permute(0, 3, 1, 2)
    y = torch.nn.functional.conv2d(images, stem["encoder.stem.weight"], padding=1)
    torch.testing.assert_close(stem["encoder.stem_bn.running_mean"], y.mean((0, 2, 3)))


def test_moco(tmp_path, photos):
    folder = make_run(
        tmp_path, photos, MocoV2Config(projector=HEAD, queue_size=128), predictor="none"
    )
    recompute(folder)
    before, after = (load_checkpoint(folder / n)["learner"] for n in ("last.pt", "last_exact.pt"))
    assert torch.equal(before["queue.keys"], after["queue.keys"])


def test_a_file_of_weights(tmp_path, run, photos, capsys):
    weights = load_checkpoint(run / "last.pt")["learner"]
    path = tmp_path / "other.pth"
    torch.save({"state_dict": {f"module.{name}": value for name, value in weights.items()}}, path)
    data = DataOverride(
        name="folder", root=str(photos), image_size=16, cache_dir=str(tmp_path), workers=0
    )
    settings = {"data": data, "encoder": EncoderOverride(name="tiny16")}
    with pytest.raises(UserError, match="is no run of this package and does not tell its augment"):
        recompute(path, views="train", **settings)
    recompute(path, **settings)
    assert "of 50 tensors match" in capsys.readouterr().err
    written = torch.load(tmp_path / "other_exact.pt", weights_only=True)
    assert (written["encoder"]["stem_bn.running_mean"] != 3).all()


def test_images_without_labels(run, tmp_path, capsys):
    flat = tmp_path / "flat"
    flat.mkdir()
    for index, image in enumerate(coloured_images(4, 16, 2, seed=0).pixels):
        Image.fromarray(image.numpy()).save(flat / f"{index}.png")
    recompute(run, data=DataOverride(root=str(flat)))
    found = json.loads((run / "population_stats.json").read_text())
    assert found["evaluations"] == {"population": None, "exact": None, "batch": None}
    assert "statistics only, no accuracies" in capsys.readouterr().err


def test_an_encoder_without_batch_norms(tmp_path, photos):
    method = ByolConfig(projector=HEAD, predictor=HEAD)
    folder = make_run(tmp_path, photos, method, encoder="gn")
    with pytest.raises(UserError, match=r"encoder: .* no batch norm .*; its norms: 10 GroupNorm"):
        recompute(folder)


def test_a_run_with_frozen_statistics_is_warned_of(tmp_path, photos, capsys):
    method = ByolConfig(projector=HEAD, predictor=HEAD)
    folder = make_run(tmp_path, photos, method, freeze_last_epochs=1)
    recompute(folder)
    assert "this run ended with frozen statistics" in capsys.readouterr().err


def test_wrong_input(run):
    with pytest.raises(UserError, match=r"is the checkpoint itself; name another file"):
        recompute(run, output=str(run / "last.pt"))
    contents = load_checkpoint(run / "last.pt")
    save_checkpoint(run / "odd.pt", contents | {"learner": {}})
    with pytest.raises(UserError, match=r"does not hold the learner of its configuration: Missing"):
        recompute(run / "odd.pt")
    future = contents["config"] | {"quantum": 1}
    save_checkpoint(run / "new.pt", contents | {"config": future})
    with pytest.raises(UserError, match=r"configuration is of another version: .*quantum"):
        recompute(run / "new.pt")
