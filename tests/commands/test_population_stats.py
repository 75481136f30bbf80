import json
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import conv2d, cross_entropy

from ssl_norm.commands.population_stats import population_stats
from ssl_norm.data.corruption.dataset import corrupted
from ssl_norm.data.corruption.spec import Corruption
from ssl_norm.errors import UserError
from ssl_norm.evaluate.checkpoint import Checkpoint
from ssl_norm.evaluate.features import evaluation_view
from ssl_norm.evaluate.population import with_labels_of
from ssl_norm.models.encoders import build_encoder
from ssl_norm.models.heads import Classifier
from ssl_norm.models.load import load_encoder_weights
from ssl_norm.norms.batch.precise_bn import recompute_statistics
from ssl_norm.settings.models import validate
from ssl_norm.train.builder import make_encoder
from ssl_norm.train.checkpoint import load_checkpoint, save_checkpoint
from tests.evaluate.problems import coloured_images
from tests.evaluate.runs import (
    HEAD,
    MEAN,
    STD,
    changed_tensors,
    save_run,
    source,
    write_images,
)

TRAIN, TEST = coloured_images(60, 16, 3, seed=0), coloured_images(30, 16, 3, seed=1)
STEM = "encoder.stem_bn.running_mean"


def shifted(images):
    """Return images of a darker domain with less contrast."""
    return replace(images, pixels=images.pixels // 4 + 5)


def unlabelled(images):
    return replace(images, labels=None)


def in_view(images):
    return evaluation_view(images.images, 16, MEAN, STD)


def loss_of(classifier, images):
    with torch.no_grad():
        return cross_entropy(classifier.eval()(in_view(images)), images.labels).item()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("population") / "photos"
    for name, change in (("own", lambda images: images), ("dark", shifted)):
        write_images(root / name / "train", change(TRAIN))
        write_images(root / name / "test", change(TEST))
    return root


def shift_means(learner):
    for name, buffer in learner.named_buffers():
        if name.endswith("running_mean"):
            buffer.fill_(3)


@pytest.fixture
def run(tmp_path, photos):
    """Return the folder of a BYOL run with wrong running means."""
    return save_run(tmp_path / "run", photos / "own", shift_means)


def trained_classifier(photos, **norm):
    """Return the checkpoint of a classifier of three colours, as a fine-tuning leaves it."""
    view = {"crop_area": (0.8, 1.0), "jitter": 0.0, "grey": 0.0, "blur": 0.0}
    norm = {"encoder": "bn"} | norm
    config = {
        "data": source(photos / "own"),
        "encoder": {"name": "tiny16"},
        "norm": norm,
        "augment": {"view": view, "mean": MEAN, "std": STD},
    }
    encoder, _ = make_encoder("tiny16", None, norm["encoder"], 16, 0)
    model = Classifier(encoder, 3, seed=0)
    optimizer = torch.optim.Adam(model.parameters(), 0.003)
    for _ in range(30):
        optimizer.zero_grad()
        cross_entropy(model(in_view(TRAIN)), TRAIN.labels).backward()
        optimizer.step()
    saved = validate("finetune", config).model_dump(mode="json")
    content = {"config": saved, "processes": 1, "step": 30, "optimizer": {}}
    return content | {"classes": list(TRAIN.classes), "learner": model.state_dict()}


@pytest.fixture(scope="module")
def trained(photos):
    return trained_classifier(photos)


@pytest.fixture
def classifier(tmp_path, trained):
    """Return the run folder of a classifier."""
    return write_classifier(tmp_path / "classifier", trained)


def write_classifier(folder, content):
    folder.mkdir()
    save_checkpoint(folder / "last.pt", content)
    return folder


def restored(folder, name="last.pt"):
    return Checkpoint.read(folder / name, {}).networks()[0]


def recompute(checkpoint, **settings):
    given = {"samples": 60, "batch_size": 12, "knn": {"k": 5}, "device": "cpu"} | settings
    result = population_stats(
        validate("population_stats", {"checkpoint": str(checkpoint), **given})
    )
    found = json.loads(result.path.read_text())
    assert all(path.stat().st_size > 0 for path in result.files.values())
    return found


def test_a_run_gets_a_checkpoint_with_exact_statistics(run, capsys):
    found = recompute(run)
    before, after = (load_checkpoint(run / name) for name in ("last.pt", "last_exact.pt"))
    assert all(after[key] == before[key] for key in ("config", "step", "format"))
    changed = changed_tensors(before, after)
    assert changed == {name for name in after["learner"] if ".running_" in name}
    parts = {name.split(".")[0] for name in changed}
    assert parts == {"encoder", "projector", "predictor", "target"}
    assert found["evaluations"].keys() == {"population", "exact", "batch"}
    assert all(0 <= value["top1"] <= 1 for value in found["evaluations"].values())
    assert (found["views"], found["batches"], found["chance"]) == ("train", 5, 1 / 3)
    assert found["layers"]["projector.1"]["mean_shift"] > 1
    assert found["layers"]["projector.1"]["values"] == 2 * 60  # both views
    output = capsys.readouterr().out
    assert all(w in output for w in ("encoder.stem_bn", "population", "exact", "written to"))
    encoder = build_encoder("tiny16", small_images=None, image_size=16)
    assert load_encoder_weights(encoder, run / "last_exact.pt").fits


def test_plain_views_are_the_images_once(run):
    found = recompute(run, views="plain", samples=1000)
    assert (found["batches"], found["samples"]) == (60 // 12, 60)
    exact = load_checkpoint(run / "last_exact.pt")["learner"]
    y = conv2d(in_view(TRAIN), exact["encoder.stem.weight"], padding=1)
    torch.testing.assert_close(exact[STEM], y.mean((0, 2, 3)))


def test_the_queue_of_moco_stays(tmp_path, photos):
    method = {"name": "moco_v2", "projector": HEAD, "queue_size": 128}
    folder = save_run(tmp_path / "run", photos / "own", method=method, norm={"predictor": "none"})
    recompute(folder)
    before, after = (load_checkpoint(folder / n)["learner"] for n in ("last.pt", "last_exact.pt"))
    assert torch.equal(before["queue.keys"], after["queue.keys"])


def test_a_file_of_weights(tmp_path, run, photos, capsys):
    weights = load_checkpoint(run / "last.pt")["learner"]
    path = tmp_path / "other.pth"
    torch.save({"state_dict": {f"module.{name}": value for name, value in weights.items()}}, path)
    settings = {"data": source(photos / "own"), "encoder": {"name": "tiny16"}}
    with pytest.raises(UserError, match="is not a run of this package"):
        recompute(path, views="train", **settings)
    recompute(path, **settings)
    assert "of 50 tensors match" in capsys.readouterr().err
    written = torch.load(tmp_path / "other_exact.pt", weights_only=True)
    assert (written["encoder"]["stem_bn.running_mean"] != 3).all()


def test_a_classifier_is_scored_as_a_whole(classifier, capsys):
    before = loss_of(restored(classifier), TEST)
    found = recompute(classifier, batch_size=30)
    assert found["evaluations"].keys() == {"population", "exact", "batch"}
    assert found["evaluations"]["population"]["loss"] == pytest.approx(before, rel=1e-4)
    assert found["evaluations"]["population"]["top1"] > 0.9
    assert (found["chance"], found["views"], found["samples"]) == (1 / 3, "train", 60)
    assert found["corruption"] is None
    output = capsys.readouterr().out
    assert all(t in output for t in ("classifier on 30 test images", "top-1", "loss in nats"))


def test_a_classifier_is_adapted_to_a_shifted_folder(classifier, photos):
    data = {"root": str(photos / "dark")}
    found = recompute(classifier, data=data, views="plain", batch_size=30)["evaluations"]
    assert found["exact"]["loss"] < found["population"]["loss"] / 2
    assert found["exact"]["top1"] > max(found["population"]["top1"], 0.9)
    before, after = (load_checkpoint(classifier / name) for name in ("last.pt", "last_exact.pt"))
    assert after["classes"] == before["classes"]
    statistics = {name for name in after["learner"] if ".running_" in name}
    assert changed_tensors(before, after) == statistics
    adapted = loss_of(restored(classifier, "last_exact.pt"), shifted(TEST))
    assert adapted == pytest.approx(found["exact"]["loss"], rel=1e-4)


@pytest.mark.parametrize("kind", ["run", "classifier"])
def test_images_without_labels_give_statistics_only(request, kind, tmp_path, capsys):
    folder = request.getfixturevalue(kind)
    flat = write_images(tmp_path / "flat", unlabelled(shifted(coloured_images(12, 16, 3, seed=0))))
    found = recompute(folder, data={"root": str(flat)}, samples=12, views="plain")
    assert found["evaluations"] == {"population": None, "exact": None, "batch": None}
    assert "no labels here: statistics only, no accuracies" in capsys.readouterr().err
    before, after = (load_checkpoint(folder / name) for name in ("last.pt", "last_exact.pt"))
    assert STEM in changed_tensors(before, after)


def test_images_of_adaptation_and_test_are_corrupted(classifier):
    corruption = Corruption("contrast", 5)  # contrast draws no random numbers
    settings = {"corruption": {"name": "contrast"}, "views": "plain", "batch_size": 60}
    found = recompute(classifier, **settings)
    assert found["corruption"] == "contrast:5"
    train, test = (corrupted(images, corruption, 0) for images in (TRAIN, TEST))
    model = restored(classifier)
    for statistics in ("population", "exact"):
        expected = pytest.approx(loss_of(model, test), rel=1e-3)
        assert found["evaluations"][statistics]["loss"] == expected
        recompute_statistics(model, [in_view(train)])


def test_labels_follow_the_names_of_classes():
    images = coloured_images(4, 8, 2, seed=0)
    found = with_labels_of(images, ("red", "colour1", "colour0"))
    assert found.labels.tolist() == [2, 1, 2, 1]


def test_networks_without_batch_norms_are_refused(tmp_path, photos):
    encoder = {"norm": {"encoder": "gn"}}
    run = save_run(tmp_path / "run", photos / "own", **encoder)
    with pytest.raises(UserError, match=r"encoder: .* no batch norm .*; its norms: 10 GroupNorm"):
        recompute(run)
    content = trained_classifier(photos, encoder="gn")
    with pytest.raises(UserError, match="no batch norm with statistics to recompute; its norms"):
        recompute(write_classifier(tmp_path / "classifier", content))


def test_frozen_statistics_cause_a_warning(tmp_path, photos, capsys):
    recompute(save_run(tmp_path / "run", photos / "own", norm={"freeze_last_epochs": 1}))
    assert "freeze_last_epochs=1: this run ended with frozen" in capsys.readouterr().err
    content = trained_classifier(photos, freeze_last=0.2)
    recompute(write_classifier(tmp_path / "classifier", content))
    assert "freeze_last=0.2: this run ended with frozen statistics" in capsys.readouterr().err


def test_checkpoints_that_do_not_fit_their_settings_are_refused(run, classifier):
    contents = load_checkpoint(run / "last.pt")
    save_checkpoint(run / "odd.pt", contents | {"learner": {}})
    with pytest.raises(UserError, match=r"does not hold the learner of its configuration: Missing"):
        recompute(run / "odd.pt")
    save_checkpoint(run / "new.pt", contents | {"config": contents["config"] | {"quantum": 1}})
    with pytest.raises(UserError, match=r"configuration belongs to another version: .*quantum"):
        recompute(run / "new.pt")
    content = load_checkpoint(classifier / "last.pt")
    save_checkpoint(classifier / "last.pt", {**content, "classes": ["a", "b"]})
    with pytest.raises(UserError, match="does not hold the classifier of its configuration"):
        recompute(classifier)


def test_wrong_settings_are_refused(run, classifier, tmp_path):
    with pytest.raises(
        UserError, match=r"corruption=contrast is for classifiers of tools/finetune"
    ):
        recompute(run, corruption="contrast")
    with pytest.raises(UserError, match="a classifier has its own encoder and norm; leave them"):
        recompute(classifier, encoder={"name": "tiny"})
    with pytest.raises(UserError, match=r"corruption 'contast'; .*did you mean 'contrast'"):
        recompute(classifier, corruption="contast")
    other = replace(coloured_images(6, 16, 2, seed=0), classes=("colour0", "colour9"))
    data = {"root": str(write_images(tmp_path / "other", other))}
    with pytest.raises(UserError, match=r"class 'colour9'; .*; name class folders as the cla"):
        recompute(classifier, data=data)
    one = write_images(tmp_path / "one", unlabelled(coloured_images(1, 16, 1, seed=0)))
    with pytest.raises(UserError, match="1 image"):
        recompute(classifier, data={"root": str(one)})
