import json
import shutil

import pytest
import torch
from PIL import Image

from ssl_norm.commands.linear_eval import linear_eval
from ssl_norm.config import (
    ByolConfig,
    DataConfig,
    DataOverride,
    EncoderConfig,
    EncoderOverride,
    KnnConfig,
    LinearEvalConfig,
    NormConfig,
    PretrainConfig,
)
from ssl_norm.errors import UserError
from ssl_norm.evaluate.protocol import Probe, ProbeImages, evaluate_encoder
from ssl_norm.models.encoders import build_encoder
from ssl_norm.train.checkpoint import save_checkpoint
from tests.evaluate.problems import coloured_images


def write_images(folder, images):
    for index in range(len(images)):
        name = images.classes[int(images.labels[index])]
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(images.pixels[index].numpy()).save(folder / name / f"{index:03d}.png")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    write_images(root / "train", coloured_images(36, 16, 6, seed=0))
    write_images(root / "test", coloured_images(18, 16, 6, seed=1))
    return root


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(1)
    return build_encoder("tiny16", small_images=None, image_size=16)


@pytest.fixture
def run(tmp_path, photos, encoder):
    """Return a run folder with the last.pt that pretraining leaves."""
    data = DataConfig(
        name="folder", root=str(photos), image_size=16, cache_dir=str(tmp_path / "cache"), workers=0
    )
    config = PretrainConfig(
        method=ByolConfig(),
        data=data,
        encoder=EncoderConfig(name="tiny16"),
        norm=NormConfig(encoder="bn"),
    )
    weights = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    weights["projector.0.weight"] = torch.zeros(4, 64)
    folder = tmp_path / "run"
    folder.mkdir()
    save_checkpoint(
        folder / "last.pt",
        {"config": config.model_dump(mode="json"), "step": 7, "learner": weights},
    )
    return folder


def evaluate(checkpoint, **settings):
    config = LinearEvalConfig(
        checkpoint=str(checkpoint), knn=KnnConfig(k=5), device="cpu", **settings
    )
    return linear_eval(config)


def test_a_run_folder_gets_its_linear_eval_json(run, encoder, capsys):
    result = evaluate(run)
    found = json.loads((run / "linear_eval.json").read_text())
    assert (result.path, result.record) == (run / "linear_eval.json", found)
    train, test = coloured_images(36, 16, 6, seed=0), coloured_images(18, 16, 6, seed=1)
    expected = evaluate_encoder(
        encoder,
        ProbeImages(
            train.subset(train.labels.argsort(stable=True)),  # the order of the files
            test.subset(test.labels.argsort(stable=True)),
            image_size=16,
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
        ),
        Probe(k=5),
    )
    assert found["chance"] == expected.chance == 1 / 6
    assert found["top1"] == expected.top1
    assert found["knn_top1"] == expected.knn_top1
    assert found["labels"] == 36
    assert found["test_images"] == 18
    assert found["protocol"] == "logistic"
    assert found["step"] == 7
    assert found["encoder"] == "tiny16"
    assert found["norm"] == "bn"
    assert found["per_class"].keys() == set(coloured_images(6, 16, 6, seed=0).classes)
    assert {"top1_random_init", "knn_top1_random_init", "top5", "inverse_strength"} <= found.keys()
    output = capsys.readouterr()
    assert "tensors match (learner: encoder.*)" in output.err
    assert "linear top-1" in output.out
    assert "written to" in output.out


def test_same_seed_same_result(run):
    evaluate(run, output=str(run / "a.json"), labels=0.5, random_init=False)
    torch.rand(1)
    evaluate(run / "last.pt", output=str(run / "b.json"), labels=0.5, random_init=False)
    first, second = (json.loads((run / name).read_text()) for name in ("a.json", "b.json"))
    assert first.pop("environment") == second.pop("environment")
    assert first == second
    assert first["labels"] == 18
    assert first["top1_random_init"] is None
    assert not (run / "linear_eval.json").exists()


def test_foreign_weights(tmp_path, photos, encoder, capsys):
    path = tmp_path / "moco.pth.tar"
    prefix = "module.encoder_q."
    torch.save(
        {"state_dict": {prefix + name: value for name, value in encoder.state_dict().items()}}, path
    )
    data = DataOverride(
        name="folder", root=str(photos), image_size=16, cache_dir=str(tmp_path), workers=0
    )
    evaluate(path, data=data, encoder=EncoderOverride(name="tiny16"), output=str(tmp_path / "out"))
    found = json.loads((tmp_path / "out").read_text())
    assert found["norm"] is None
    assert found["step"] is None
    assert "50 of 50 tensors match (state_dict: module.encoder_q.*)" in capsys.readouterr().err


def test_weights_of_another_encoder_are_refused(run):
    with pytest.raises(UserError, match=r"does not fit TinyResNet: .* of 50 tensors match"):
        evaluate(run, encoder=EncoderOverride(name="tiny"))
    assert not (run / "linear_eval.json").exists()


def keep(run, steps):
    """Add kept checkpoints with the weights of last.pt times the step."""
    last = torch.load(run / "last.pt", weights_only=True)
    for step in steps:
        weights = {name: value * step for name, value in last["learner"].items()}
        torch.save({**last, "step": step, "learner": weights}, run / f"step_{step}.pt")


def steps_in(file):
    return [row["step"] for row in json.loads(file.read_text())["steps"]]


def test_every_kept_checkpoint_of_a_run(run, capsys):
    keep(run, (2, 5))
    evaluate(run, kept=True)
    found = json.loads((run / "linear_eval_steps.json").read_text())
    assert steps_in(run / "linear_eval_steps.json") == [0, 2, 5, 7]
    assert (found["labels"], found["test_images"], found["protocol"]) == (36, 18, "logistic")
    assert found["run"] == str(run)
    assert "over the run, 36 labels" in " ".join(capsys.readouterr().out.split())
    assert not (run / "linear_eval.json").exists()
    untrained, *rows = found["steps"]
    assert [row["checkpoint"] for row in rows] == ["step_2.pt", "step_5.pt", "last.pt"]
    for row in rows:
        evaluate(run / row.pop("checkpoint"), output=str(run / "one.json"))
        one = json.loads((run / "one.json").read_text())
        assert all(one[name] == value for name, value in row.items())
        assert one["top1_random_init"] == untrained["top1"]


def test_a_kept_last_step_is_evaluated_once_and_a_run_that_goes_on_has_no_last(run, tmp_path):
    keep(run, (3,))
    shutil.copy(run / "last.pt", run / "step_7.pt")
    evaluate(run, kept=True, random_init=False, output=str(tmp_path / "a.json"))
    assert steps_in(tmp_path / "a.json") == [3, 7]
    (run / "last.pt").unlink()
    evaluate(run, kept=True, random_init=False, output=str(tmp_path / "b.json"))
    assert steps_in(tmp_path / "b.json") == [3, 7]


def test_kept_files_of_weights_have_the_step_in_their_names(tmp_path, photos, encoder):
    for step in (40, 100):
        torch.save(encoder.state_dict(), tmp_path / f"step_{step}.pt")
    data = DataOverride(name="folder", root=str(photos), image_size=16, workers=0)
    evaluate(
        tmp_path, kept=True, data=data, encoder=EncoderOverride(name="tiny16"), random_init=False
    )
    assert steps_in(tmp_path / "linear_eval_steps.json") == [40, 100]


def test_the_target_has_a_record_of_its_own(run):
    last = torch.load(run / "last.pt", weights_only=True)
    last["learner"] |= {f"target_{name}": value for name, value in last["learner"].items()}
    torch.save(last, run / "last.pt")
    keep(run, (3,))
    evaluate(run, kept=True, network="target", random_init=False)
    assert steps_in(run / "linear_eval_steps_target.json") == [3, 7]
    evaluate(run, network="target", random_init=False)
    assert json.loads((run / "linear_eval_target.json").read_text())["network"] == "target"
    assert not (run / "linear_eval_steps.json").exists()
    assert not (run / "linear_eval.json").exists()


def test_kept_needs_a_run_that_kept_something(run):
    with pytest.raises(UserError, match=r"no step_\*.pt in it; tools/pretrain.py keeps them"):
        evaluate(run, kept=True)
    with pytest.raises(UserError, match=r"kept=true takes a run folder, with step_\*.pt in it"):
        evaluate(run / "last.pt", kept=True)
    with pytest.raises(UserError, match=r"nowhere: there is no such run folder"):
        evaluate(run / "nowhere", kept=True)


def test_a_kept_checkpoint_of_another_run_or_without_finite_weights(run):
    keep(run, (3,))
    other = torch.load(run / "step_3.pt", weights_only=True)
    torch.save({**other, "config": {**other["config"], "seed": 5}, "step": 4}, run / "step_4.pt")
    with pytest.raises(
        UserError, match=r"step_4.pt is of another run than step_3.pt: encoder, data"
    ):
        evaluate(run, kept=True)
    weights = {name: value * torch.nan for name, value in other["learner"].items()}
    torch.save({**other, "learner": weights, "step": 4}, run / "step_4.pt")
    with pytest.raises(UserError, match=r"step_4.pt: .* steps before it are in .*\.partial\.json"):
        evaluate(run, kept=True)
    assert steps_in(run / "linear_eval_steps.partial.json") == [0, 3]


def test_a_whole_record_stays_until_the_next_one_is_whole(run):
    keep(run, (3,))
    evaluate(run, kept=True)
    whole = (run / "linear_eval_steps.json").read_text()
    torch.save({"format": 99, "config": {}, "learner": {}}, run / "last.pt")
    with pytest.raises(UserError, match=r"has format 99"):
        evaluate(run, kept=True)
    assert (run / "linear_eval_steps.json").read_text() == whole
    assert steps_in(run / "linear_eval_steps.partial.json") == [0, 3]


def test_images_without_labels(run, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for index, image in enumerate(coloured_images(4, 16, 2, seed=0).pixels):
        Image.fromarray(image.numpy()).save(flat / f"{index}.png")
    with pytest.raises(UserError, match="data=folder has no labels here"):
        evaluate(run, data=DataOverride(root=str(flat)))


def test_missing_checkpoint(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.pt: there is no such file or run folder"):
        evaluate(tmp_path / "nowhere.pt")
    with pytest.raises(UserError, match=r"a folder without last.pt; name a run or a file"):
        evaluate(tmp_path)


def test_a_checkpoint_of_the_future(tmp_path):
    torch.save({"format": 99, "config": {}, "learner": {}}, tmp_path / "last.pt")
    with pytest.raises(UserError, match=r"has format 99; this version reads 1"):
        evaluate(tmp_path)
