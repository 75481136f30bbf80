import json
from dataclasses import replace

import pytest
import torch
from PIL import Image

from ssl_norm.commands.population_stats import population_stats
from ssl_norm.config import (
    ByolConfig,
    DataConfig,
    DataOverride,
    EncoderOverride,
    FinetuneConfig,
    FinetuneNormConfig,
    PopulationStatsConfig,
)
from ssl_norm.data.corruption.dataset import corrupted
from ssl_norm.data.corruption.spec import Corruption
from ssl_norm.errors import UserError
from ssl_norm.evaluate.classifier.population import with_labels_of
from ssl_norm.evaluate.features import evaluation_view
from ssl_norm.models.classifier import Classifier
from ssl_norm.norms.batch.precise_bn import recompute_statistics
from ssl_norm.train.builder import make_encoder
from ssl_norm.train.checkpoint import load_checkpoint, save_checkpoint
from ssl_norm.train.restore import restore_classifier
from ssl_norm.train.run_settings import plain_config
from tests.commands.test_linear_eval import write_images
from tests.commands.test_population_stats import HEAD, make_run
from tests.evaluate.problems import coloured_images

PIXELS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def in_view(images):
    return evaluation_view(images.images, 16, *PIXELS)


def shifted(images):
    """Return images of a darker domain with less contrast."""
    return replace(images, pixels=images.pixels // 4 + 5)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    train, test = coloured_images(60, 16, 3, seed=0), coloured_images(30, 16, 3, seed=1)
    for name, change in (("own", lambda images: images), ("dark", shifted)):
        write_images(root / name / "train", change(train))
        write_images(root / name / "test", change(test))
    return root


@pytest.fixture(scope="module")
def trained(folders):
    """Return the checkpoint of a classifier of three colours, as a fine-tuning leaves it."""
    return make_classifier(folders)


def make_classifier(folders, norm="bn", **norms):
    data = DataConfig(
        name="folder",
        root=str(folders / "own"),
        image_size=16,
        cache_dir=str(folders / "cache"),
        workers=0,
    )
    config = FinetuneConfig(
        data=data,
        encoder=EncoderOverride(name="tiny16"),
        norm=FinetuneNormConfig(encoder=norm, **norms),
        augment={
            "view": {"crop_area": (0.8, 1.0), "jitter": 0.0, "grey": 0.0, "blur": 0.0},
            "mean": PIXELS[0],
            "std": PIXELS[1],
        },
    )
    encoder, _ = make_encoder("tiny16", None, norm, 16, 0)
    model = Classifier(encoder, 3, seed=0)
    images = coloured_images(60, 16, 3, seed=0)
    optimizer = torch.optim.Adam(model.parameters(), 0.003)
    for _ in range(30):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(in_view(images)), images.labels).backward()
        optimizer.step()
    content = {"config": plain_config(config), "processes": 1, "step": 30, "optimizer": {}}
    content |= {"classes": list(images.classes), "learner": model.state_dict()}
    return content


@pytest.fixture
def run(tmp_path, trained):
    return written(tmp_path, trained)


def written(tmp_path, contents):
    folder = tmp_path / "run"
    folder.mkdir()
    save_checkpoint(folder / "last.pt", contents)
    return folder


def recompute(checkpoint, **settings):
    given = {"samples": 60, "batch_size": 30, "device": "cpu"} | settings
    population_stats(PopulationStatsConfig(checkpoint=str(checkpoint), **given))
    return json.loads((checkpoint / "population_stats.json").read_text())


def data(folders, name):
    return DataOverride(root=str(folders / name), cache_dir=str(folders / "cache"))


def test_a_checkpoint_gives_its_classifier_back(trained):
    model = restore_classifier(trained)
    assert all(
        torch.equal(value, trained["learner"][name]) for name, value in model.state_dict().items()
    )


def test_the_classifier_itself_is_scored(run, trained, capsys):
    found = recompute(run)
    images, model = coloured_images(30, 16, 3, seed=1), restore_classifier(trained)
    with torch.no_grad():
        logits = model.eval()(in_view(images))
        before = torch.nn.functional.cross_entropy(logits, images.labels).item()
    assert found["evaluations"].keys() == {"population", "exact", "batch"}
    assert found["evaluations"]["population"]["loss"] == pytest.approx(before, rel=1e-4)
    assert found["evaluations"]["population"]["top1"] > 0.9
    assert (found["chance"], found["views"], found["samples"]) == (1 / 3, "train", 60)
    assert found["corruption"] is None
    output = capsys.readouterr().out
    for text in ("classifier on 30 test images by", "top-1", "loss in nats"):
        assert text in output


def test_adaptation_to_a_shifted_folder(run, folders):
    found = recompute(run, data=data(folders, "dark"), views="plain")["evaluations"]
    assert found["exact"]["loss"] < found["population"]["loss"] / 2
    assert found["exact"]["top1"] > max(found["population"]["top1"], 0.9)
    before, after = (load_checkpoint(run / name) for name in ("last.pt", "last_exact.pt"))
    assert after["classes"] == before["classes"]
    changed = {
        name
        for name, value in after["learner"].items()
        if not torch.equal(value, before["learner"][name])
    }
    assert changed == {name for name in after["learner"] if ".running_" in name}
    adapted = restore_classifier(after).eval()
    images = shifted(coloured_images(30, 16, 3, seed=1))
    with torch.no_grad():
        top1 = (adapted(in_view(images)).argmax(1) == images.labels).float().mean().item()
    assert top1 == pytest.approx(found["exact"]["top1"])


def test_images_without_labels_are_adapted_to(run, tmp_path, capsys):
    flat = tmp_path / "flat"
    flat.mkdir()
    for index, pixels in enumerate(shifted(coloured_images(12, 16, 3, seed=0)).pixels):
        Image.fromarray(pixels.numpy()).save(flat / f"{index}.png")
    override = DataOverride(root=str(flat), cache_dir=str(tmp_path))
    found = recompute(run, data=override, samples=12, views="plain")
    assert found["evaluations"] == {"population": None, "exact": None, "batch": None}
    assert "no labels here: statistics only" in capsys.readouterr().err
    statistics = load_checkpoint(run / "last_exact.pt")["learner"]
    stem = "encoder.stem_bn.running_mean"
    assert not torch.equal(statistics[stem], load_checkpoint(run / "last.pt")["learner"][stem])


def test_corrupted_images(run, trained):
    """Both the images that are adapted to and those that are scored are corrupted; contrast needs no noise."""
    corruption = Corruption("contrast", 5)
    found = recompute(run, corruption={"name": "contrast"}, views="plain", batch_size=60)
    assert found["corruption"] == "contrast:5"
    train, test = (
        corrupted(coloured_images(count, 16, 3, seed=seed), corruption, 0)
        for count, seed in ((60, 0), (30, 1))
    )
    model = restore_classifier(trained)
    for statistics in ("population", "exact"):
        with torch.no_grad():
            logits = model.eval()(in_view(test))
        loss = torch.nn.functional.cross_entropy(logits, test.labels).item()
        assert found["evaluations"][statistics]["loss"] == pytest.approx(loss, rel=1e-3)
        recompute_statistics(model, [in_view(train)])


def test_labels_go_by_the_names_of_classes():
    images = coloured_images(4, 8, 2, seed=0)
    found = with_labels_of(images, ("red", "colour1", "colour0"))
    assert found.labels.tolist() == [2, 1, 2, 1]


def test_wrong_input(run, tmp_path, folders, trained):
    other = replace(coloured_images(6, 16, 2, seed=0), classes=("colour0", "colour9"))
    write_images(tmp_path / "other", other)
    override = DataOverride(root=str(tmp_path / "other"), cache_dir=str(tmp_path))
    with pytest.raises(
        UserError, match=r"class 'colour9'; .*; folders must be named as the classes"
    ):
        recompute(run, data=override)
    with pytest.raises(UserError, match="a classifier is scored with its own; leave them out"):
        recompute(run, encoder=EncoderOverride(name="tiny"))
    with pytest.raises(UserError, match=r"corruption 'contast'; .*did you mean 'contrast'"):
        recompute(run, corruption="contast")
    save_checkpoint(run / "last.pt", trained | {"classes": ["a", "b"]})
    with pytest.raises(UserError, match="does not hold the classifier of its configuration"):
        recompute(run)


def test_few_images(run, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    Image.fromarray(coloured_images(1, 16, 1, seed=0).pixels[0].numpy()).save(flat / "0.png")
    with pytest.raises(UserError, match="1 image"):
        recompute(run, data=DataOverride(root=str(flat), cache_dir=str(tmp_path)))


def test_without_batch_norms_there_is_nothing_to_adapt(tmp_path, folders):
    folder = written(tmp_path, make_classifier(folders, "gn"))
    with pytest.raises(UserError, match="no batch norm with statistics to recompute; its norms"):
        recompute(folder)


def test_a_run_with_frozen_statistics_is_warned_of(tmp_path, folders, capsys):
    recompute(written(tmp_path, make_classifier(folders, freeze_last=0.2)))
    assert "this run ended with frozen statistics" in capsys.readouterr().err


def test_corruptions_are_for_classifiers(tmp_path, folders):
    learner = make_run(tmp_path, folders / "own", ByolConfig(projector=HEAD, predictor=HEAD))
    with pytest.raises(
        UserError, match=r"corruption=contrast: for classifiers of tools/finetune\.py"
    ):
        recompute(learner, corruption="contrast")
