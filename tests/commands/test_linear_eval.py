import json
import shutil
from dataclasses import replace
from functools import partial

import pytest
import torch

import ssl_norm
from ssl_norm.commands.linear_eval import linear_eval
from ssl_norm.errors import UserError
from ssl_norm.evaluate.features import evaluation_view
from ssl_norm.evaluate.protocol import Probe, ProbeImages, evaluate_encoder
from ssl_norm.evaluate.record import writing
from ssl_norm.models.encoders import build_encoder
from ssl_norm.settings.models import validate
from tests.evaluate.problems import coloured_images
from tests.evaluate.runs import MEAN, STD, save_run, source, write_images
from tests.evaluate.test_baselines import statistics_of

TRAIN, TEST = coloured_images(36, 16, 6, seed=0), coloured_images(18, 16, 6, seed=1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("linear_eval") / "photos"
    write_images(root / "train", TRAIN)
    write_images(root / "test", TEST)
    return root


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(1)
    return build_encoder("tiny16", small_images=None, image_size=16)


@pytest.fixture
def run(tmp_path, photos, encoder):
    """Return the run folder of a learner with this encoder."""
    load = partial(torch.nn.Module.load_state_dict, state_dict=encoder.state_dict())
    return save_run(tmp_path / "run", photos, lambda learner: load(learner.encoder))


def evaluate(checkpoint, **settings):
    given = {"checkpoint": str(checkpoint), "knn": {"k": 5}, "device": "cpu"}
    return linear_eval(validate("linear_eval", given | settings))


def record(path):
    return json.loads(path.read_text())


def test_record_of_a_run(run, encoder, capsys):
    result = evaluate(run)
    found = record(run / "linear_eval.json")
    assert result.path == run / "linear_eval.json"
    assert found == {**result.record, "crc32": found["crc32"]}
    by_name = [part.subset(part.labels.argsort(stable=True)) for part in (TRAIN, TEST)]
    view = partial(evaluation_view, image_size=16, mean=MEAN, std=STD)
    expected = evaluate_encoder(encoder, ProbeImages(*by_name, view), Probe(k=5))
    torch.manual_seed(0)  # of the run
    began_with = build_encoder("tiny16", small_images=None, image_size=16)
    random_init = evaluate_encoder(began_with, ProbeImages(*by_name, view), Probe(k=5))
    floor = Probe(k=5).result(
        *((statistics_of(view(p.images)), p.labels) for p in by_name), "abcdef"
    )
    for name in ("top1", "knn_top1", "rank_me"):
        assert found[f"{name}_random_init"] == getattr(random_init, name)
        assert found[f"{name}_image_statistics"] == pytest.approx(getattr(floor, name), rel=1e-4)
    assert found["rank_me"] == expected.rank_me != random_init.rank_me
    assert found["chance"] == expected.chance == 1 / 6
    assert (found["top1"], found["knn_top1"]) == (expected.top1, expected.knn_top1)
    keys = ("labels", "test_images", "protocol", "step", "encoder", "norm")
    assert [found[key] for key in keys] == [36, 18, "logistic", 7, "tiny16", "bn"]
    assert found["per_class"].keys() == set(TRAIN.classes)
    assert {"top1_random_init", "knn_top1_random_init", "top5", "inverse_strength"} <= found.keys()
    output = capsys.readouterr()
    assert "tensors match (learner: encoder.*)" in output.err
    assert "image statistics" in output.out
    assert ("simple statistics are better than these features" in output.err) == (
        expected.top1 < floor.top1
    )
    assert "written to" in output.out


@pytest.mark.parametrize(
    ("tool", "settings"),
    [
        ("linear_eval", {"labels": 0.5, "random_init": False}),
        ("population_stats", {"samples": 36}),
        ("diagnose", {"samples": 20, "batch_size": 16, "random_init": False}),
    ],
)
def test_equal_seeds_give_equal_records(run, tool, settings):
    records = []
    for name in ("a", "b"):
        given = {"checkpoint": str(run), "output": str(run / name), "device": "cpu"} | settings
        records.append(getattr(ssl_norm, tool)(**given).record)
        torch.rand(1)
    first, second = ({k: v for k, v in one.items() if k != "environment"} for one in records)
    assert repr(first) == repr(second)
    assert not (run / "linear_eval.json").exists()


def test_foreign_weights(tmp_path, photos, encoder, capsys):
    weights = {f"module.encoder_q.{name}": v for name, v in encoder.state_dict().items()}
    torch.save({"state_dict": weights}, tmp_path / "moco.pth.tar")
    settings = {"data": source(photos), "encoder": {"name": "tiny16"}, "labels": 0.5}
    settings |= {"random_init": False, "output": str(tmp_path / "out")}
    evaluate(tmp_path / "moco.pth.tar", **settings)
    found = record(tmp_path / "out")
    assert (found["norm"], found["step"]) == (None, None)
    assert (found["labels"], found["top1_random_init"]) == (18, None)
    assert "50 of 50 tensors match (state_dict: module.encoder_q.*)" in capsys.readouterr().err


def test_the_only_network_of_a_file_is_recorded_as_what_it_is(tmp_path, photos, encoder, capsys):
    weights = {f"backbone.{name}": v for name, v in encoder.state_dict().items()}
    torch.save({"teacher": weights}, tmp_path / "dino.pth")
    settings = {"data": source(photos), "encoder": {"name": "tiny16"}, "random_init": False}
    assert evaluate(tmp_path / "dino.pth", **settings).record["network"] == "target"
    assert "the target network is used, the only one in the file" in capsys.readouterr().err


def test_images_without_labels_are_refused(run, tmp_path):
    flat = write_images(tmp_path / "flat", replace(coloured_images(4, 16, 2, 0), labels=None))
    with pytest.raises(UserError, match="data=folder has no labels here"):
        evaluate(run, data={"root": str(flat)})


def test_output_does_not_overwrite_the_checkpoint(run):
    with pytest.raises(UserError, match=r"is the checkpoint itself; name another file"):
        evaluate(run, output=str(run / "last.pt"))


def keep(run, *steps):
    """Add kept checkpoints with the weights of last.pt times the step."""
    last = torch.load(run / "last.pt", weights_only=True)
    for step in steps:
        weights = {name: value * step for name, value in last["learner"].items()}
        torch.save({**last, "step": step, "learner": weights}, run / f"step_{step}.pt")


def steps_in(file):
    return [row["step"] for row in record(file)["steps"]]


def test_every_kept_checkpoint_of_a_run(run, capsys):
    keep(run, 2)
    evaluate(run, kept=True)
    found = record(run / "linear_eval_steps.json")
    assert steps_in(run / "linear_eval_steps.json") == [0, 2, 7]
    assert (found["labels"], found["test_images"], found["protocol"]) == (36, 18, "logistic")
    assert found["run"] == str(run)
    assert "over the run, 36 labels" in " ".join(capsys.readouterr().out.split())
    assert not (run / "linear_eval.json").exists()
    untrained, *rows = found["steps"]
    floor = {name: found[name] for name in ("top1_image_statistics", "knn_top1_image_statistics")}
    assert [row["checkpoint"] for row in rows] == ["step_2.pt", "last.pt"]
    for row in rows:
        evaluate(run / row.pop("checkpoint"), output=str(run / "one.json"))
        one = record(run / "one.json")
        assert all(one[name] == value for name, value in row.items())
        assert one["top1_random_init"] == untrained["top1"]
        assert floor.items() <= one.items()
        assert one["rank_me_random_init"] == untrained["rank_me"] != one["rank_me"]


def test_a_step_in_two_files_is_evaluated_once_and_last_pt_may_be_missing(run, tmp_path):
    keep(run, 3)
    shutil.copy(run / "last.pt", run / "step_7.pt")
    evaluate(run, kept=True, random_init=False, output=str(tmp_path / "a.json"))
    (run / "last.pt").unlink()
    evaluate(run, kept=True, random_init=False, output=str(tmp_path / "b.json"))
    assert steps_in(tmp_path / "a.json") == steps_in(tmp_path / "b.json") == [3, 7]


@pytest.mark.parametrize(
    ("tool", "settings", "name"),
    [
        ("linear_eval", {}, "linear_eval.json"),
        ("linear_eval", {"kept": True}, "linear_eval_steps.json"),
        ("population_stats", {}, "last_exact.pt"),
        ("diagnose", {}, "diagnosis.json"),
    ],
)
def test_a_result_that_another_process_writes_is_refused(run, tool, settings, name):
    keep(run, 2)
    evaluation = getattr(ssl_norm, tool)
    before = sorted(run.iterdir())
    with writing(run / name), pytest.raises(UserError, match=rf"{name} is being written by proc"):
        evaluation(checkpoint=str(run), device="cpu", **settings)
    assert sorted(run.iterdir()) == before


@pytest.mark.parametrize("verdict", ["healthy", "complete"])
def test_a_collapsed_run_is_reported(run, verdict, capsys):
    content = torch.load(run / "last.pt", weights_only=True)
    torch.save(content | {"monitor": {"verdict": [verdict]}}, run / "last.pt")
    evaluate(run)
    assert ("had collapsed by step" in capsys.readouterr().err) == (verdict == "complete")


def test_the_step_of_kept_weights_is_in_their_names(tmp_path, photos, encoder):
    for step in (40, 100):
        torch.save(encoder.state_dict(), tmp_path / f"step_{step}.pt")
    settings = {"data": source(photos), "encoder": {"name": "tiny16"}, "random_init": False}
    evaluate(tmp_path, kept=True, **settings)
    assert steps_in(tmp_path / "linear_eval_steps.json") == [40, 100]


def test_records_of_the_target_have_other_names(run):
    keep(run, 3)
    evaluate(run, kept=True, network="target", random_init=False)
    evaluate(run, network="target", random_init=False)
    assert steps_in(run / "linear_eval_steps_target.json") == [3, 7]
    assert record(run / "linear_eval_target.json")["network"] == "target"
    assert not (run / "linear_eval_steps.json").exists()
    assert not (run / "linear_eval.json").exists()


@pytest.mark.parametrize("name", ["", "last.pt", "nowhere"])
def test_kept_needs_a_run_folder_with_kept_checkpoints(run, name):
    with pytest.raises(UserError, match=r"kept=true takes a run folder with step_\*.pt, and there"):
        evaluate(run / name, kept=True)


def test_a_kept_checkpoint_of_another_run_or_without_finite_weights(run):
    keep(run, 3)
    other = torch.load(run / "step_3.pt", weights_only=True)
    torch.save({**other, "config": {**other["config"], "seed": 5}, "step": 4}, run / "step_4.pt")
    with pytest.raises(
        UserError, match=r"step_4.pt comes from another run than step_3.pt: encoder,"
    ):
        evaluate(run, kept=True)
    weights = {name: value * torch.nan for name, value in other["learner"].items()}
    torch.save({**other, "learner": weights, "step": 4}, run / "step_4.pt")
    with pytest.raises(UserError, match=r"step_4.pt: .* earlier steps are in .*\.partial\.json"):
        evaluate(run, kept=True)
    assert steps_in(run / "linear_eval_steps.partial.json") == [0, 3]


def test_the_old_record_stays_until_the_new_one_is_complete(run):
    keep(run, 3)
    evaluate(run, kept=True)
    whole = (run / "linear_eval_steps.json").read_text()
    torch.save({"format": 99, "config": {}, "learner": {}}, run / "last.pt")
    with pytest.raises(UserError, match=r"has format 99"):
        evaluate(run, kept=True)
    assert (run / "linear_eval_steps.json").read_text() == whole
    assert steps_in(run / "linear_eval_steps.partial.json") == [0, 3]
