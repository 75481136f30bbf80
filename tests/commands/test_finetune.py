"""Fine-tuning: run folder, resumption, checkpoints to start from, wrong input."""

import csv
import json

import pytest
import torch

from ssl_norm.models.load import load_encoder_weights
from ssl_norm.train.builder import make_encoder
from ssl_norm.train.run_folder import RunFolder
from tests.tool import run

pytestmark = pytest.mark.slow

SMALL = [
    "encoder.name=tiny16", "data.limit=300", "steps=8", "batch_size=8", "evaluation.limit=64",
    "evaluation.samples=[64]", "evaluation.batch_sizes=[32]", "checkpoint_every=4", "log_every=2", "device=cpu",
    "loggers=[]",
]  # fmt: skip


def finetune(*arguments):
    """Run the tool, and return exit code and stderr."""
    code, _, said = run("finetune", *SMALL, *arguments)
    return code, said


def checkpoint(folder):
    return torch.load(folder / "last.pt", weights_only=True)


def evaluations(folder):
    return list(csv.DictReader((folder / "evaluations.csv").read_text().splitlines()))


def test_a_run_folder_and_a_run_that_was_cut_off_and_goes_on(monkeypatch, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    settings = ["labels_per_class=4", "norm.encoder=ubn", "evaluation.every=4"]
    settings.append("evaluation.uncertainty=2")
    code, said = finetune(*settings, f"run_dir={whole}")
    assert code == 0, said
    assert "40 labelled and 260 unlabelled images" in said
    assert "8 steps of 8 labelled images plus 32 unlabelled" in said
    assert "1.6 passes over the labelled ones; sgd, learning rate 0.4 x 8 / 256" in said
    names = "config.yaml metrics.csv evaluations.csv summary.json last.pt accuracy.png"
    assert set(names.split()) <= {file.name for file in whole.iterdir()}
    summary = json.loads((whole / "summary.json").read_text())
    assert (summary["tool"], summary["labels"], summary["steps"]) == ("finetune", 40, 8)
    assert (summary["norm"], summary["ended"]) == ({"encoder": "ubn"}, "done")
    assert "auroc" in summary
    rows = evaluations(whole)
    assert [int(row["step"]) for row in rows if row["statistics"] == "population"] == [4, 8]
    final = {(row["statistics"], row["statistics_from"]): row for row in rows if row["step"] == "8"}
    for name, kind in {
        "top1": ("population", ""),
        "top1_exact": ("exact", "all"),
        "top1_exact_labelled": ("exact", "labelled"),
        "top1_batch": ("batch", ""),
    }.items():
        assert summary[name] == float(final[kind]["top1"])

    save = RunFolder.save

    def cut_off(folder, content, name):
        save(folder, content, name)
        if content["step"] == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "save", cut_off)
        assert finetune(*settings, f"run_dir={cut}")[0] == 130
    code, said = finetune(*settings, f"run_dir={cut}", "resume=true")
    assert (code, "resumed after step 4" in said) == (0, True)
    assert finetune(*settings, f"run_dir={cut}", "resume=true")[0] == 0  # only the end is left
    for name, value in checkpoint(whole)["learner"].items():
        assert torch.equal(value, checkpoint(cut)["learner"][name]), name
    assert (cut / "evaluations.csv").read_text() == (whole / "evaluations.csv").read_text()


def test_a_run_begins_with_the_encoder_of_another_and_what_it_says(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    pixels = ["augment.mean=[0.4,0.5,0.6]", "augment.std=[0.2,0.2,0.2]", "data.image_size=16"]
    assert finetune(*pixels, "norm.encoder={name: bn, eps: 1e-4}", f"run_dir={first}")[0] == 0
    # A rate of 0 is refused, but the smallest positive rate does not change the weights.
    settings = [f"checkpoint={first}", "encoder.name=null", "labels=40", "optimizer.lr=1e-30"]
    code, said = finetune(*settings, "norm.freeze_last=1.0", f"run_dir={second}")
    assert code == 0, said
    saved = checkpoint(second)["config"]
    assert saved["encoder"]["name"] == "tiny16"
    assert saved["norm"]["encoder"] == {"name": "bn", "eps": 1e-4}
    assert list(saved["augment"]["mean"]) == [0.4, 0.5, 0.6]
    before, after = checkpoint(first)["learner"], checkpoint(second)["learner"]
    counters = "num_batches_tracked"
    encoder = [n for n in before if n.startswith("encoder.") and not n.endswith(counters)]
    assert encoder
    assert all(torch.allclose(before[name].float(), after[name].float()) for name in encoder)
    assert not torch.equal(before["classifier.weight"], after["classifier.weight"])
    network, _ = make_encoder("tiny16", None, "bn", 16, 0)
    assert load_encoder_weights(network, second / "last.pt").prefix == "encoder."
    record = torch.load(second / "last.pt", weights_only=True)["encoder_record"]
    assert record.keys() == {
        "name", "small_images", "norm", "image_size", "mean", "std", "library",
    }  # fmt: skip

    replaced = tmp_path / "replaced"
    code, said = finetune(*settings, "norm.encoder=ubn", f"run_dir={replaced}")
    assert code == 0, said
    assert checkpoint(replaced)["config"]["norm"]["encoder"] == "ubn"


def test_exact_population_statistics_are_those_that_evaluation_finds(tmp_path):
    norm = "norm.encoder={name: bn, population: exact}"
    code, said = finetune(norm, "labels=0.5", f"run_dir={tmp_path}")
    assert code == 0
    assert "exact population statistics of 64 images" in said
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["top1"] == summary["top1_exact"]


def test_domains_and_correlated_batches_run(tmp_path):
    code, said = finetune(
        "norm.encoder=domain", "domains=[clean,contrast]", f"run_dir={tmp_path / 'domains'}"
    )
    assert code == 0, said
    assert {row["domain"] for row in evaluations(tmp_path / "domains")} == {"clean", "contrast:5"}
    grouping = ["grouping.chunk=4", "grouping.shuffle=true"]
    code, said = finetune(*grouping, "norm.encoder=gn", f"run_dir={tmp_path / 'grouped'}")
    assert code == 0
    assert "2 chunks of 4 images of 1 class(es), then shuffled within the batch" in said
    kinds = {row["statistics"] for row in evaluations(tmp_path / "grouped")}
    assert kinds == {"population"}


def test_a_loss_that_is_not_finite_ends_with_exit_code_4(tmp_path):
    code, said = finetune("optimizer.lr=1e30", f"run_dir={tmp_path}")
    assert code == 4
    assert "a lower optimizer.lr" in said
    assert json.loads((tmp_path / "summary.json").read_text())["ended"] == "non_finite_loss"


WRONG = {
    "norm.encoder=ubn": "norm.encoder=ubn needs unlabelled images, but all 300 training images are labelled",
    "labels=301": "labels=301: there are 300 labelled images; use at most 300",
    "labels=5": "labels=5 leaves 5 of 10 classes without an image",
    "labels_per_class=500": "labels_per_class=500: class ",
    "data.limit=1000000": "data.limit=1000000: expected 2 to",
    "norm.encoder=gn norm.freeze_last=0.5": "norm.freeze_last: ",
}


@pytest.mark.parametrize("arguments", WRONG)
def test_settings_that_do_not_fit_the_images_are_one_line(tmp_path, arguments):
    code, said = finetune(*arguments.split(), f"run_dir={tmp_path}")
    assert code == 2
    (error,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert WRONG[arguments] in error


@pytest.mark.parametrize("places", ["0 1 2 3", "cat/0 cat/1 cat/2 cat/3", "cat/0 dog/1"])
def test_images_without_labels_are_named(tmp_path, places):
    from PIL import Image

    for number, place in enumerate(places.split()):
        path = tmp_path / f"{place}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
    data = {"root": tmp_path, "cache_dir": tmp_path / "cache", "workers": 0, "limit": "null"}
    given = [f"data.{key}={value}" for key, value in data.items()]
    code, said = finetune("data=folder", *given, "data.image_size=8", f"run_dir={tmp_path}/run")
    assert code == 2
    assert "has no labels here, and fine-tuning needs them: put the images of each class" in said
