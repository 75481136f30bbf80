import json

from ssl_norm.monitors.spectral import spectral_monitors
from ssl_norm.reporting.caveats import commands, left_out, provenance, to_mind
from tests.reporting.run_folders import (
    config_of,
    curves,
    finetune_config,
    grouped,
    runs_in,
    write_few_labels,
    write_finetune,
    write_run,
    write_study,
)


def remarks(root, keys=None):
    return to_mind(*grouped(root, keys))


def unmeasured():
    """Return the labels of monitors that the runs of these tests lack."""
    labels = [one.declaration.label for one in spectral_monitors().values()]
    return ", ".join(label for label in labels if label)


def test_a_study_of_equal_runs_has_only_caveats_on_missing_values(tmp_path):
    assert remarks(write_study(tmp_path)) == [f"in no run: {unmeasured()}"]


def test_broken_unfinished_and_repeated_runs_are_named(tmp_path):
    write_run(tmp_path / "a", summary=False)
    (write_run(tmp_path / "b") / "summary.json").write_text("{")
    write_run(tmp_path / "c")
    a, b, c = runs_in(tmp_path)
    lines = left_out([a, b, c], [c])
    assert lines[0].startswith("b is broken: summary.json cannot be read")
    assert lines[1].startswith("a is running or interrupted: step 100")
    assert lines[2] == "c repeats a newer run with the same settings and seed 0"


def test_features_below_the_statistics_of_pixels(tmp_path):
    for name, floor in (("a", 0.51), ("b", 0.5)):
        summary = {"linear_top1_image_statistics": floor}
        write_run(tmp_path / name, top1=None, summary=summary)
    assert "linear top-1 below that of plain image statistics: a" in remarks(tmp_path)


def test_fewer_seeds(tmp_path):
    write_study(tmp_path)
    write_run(tmp_path / "x", config_of(heads="ln", seed=1))
    assert "only seed 1 of 0, 1, 2: heads ln/ln" in remarks(tmp_path)


def test_other_code_machine_and_data_are_named(tmp_path):
    write_study(tmp_path)
    other = config_of(seed=3, data__root="/elsewhere", monitor__patience=5, monitor__log_every=7)
    environment = {"commit": "ff-dirty", "hardware": "H100"}
    write_run(tmp_path / "x", other, environment=environment)
    lines = remarks(tmp_path)
    assert set(lines) > {
        "commit differs: 0123456789ab in 6 runs; ff-dirty in x",
        "hardware differs: AMD EPYC, 2 threads in 6 runs; H100 in x",
        "data.root differs: /photos in 6 runs; /elsewhere in x",
        "monitor.patience differs: 20 in 6 runs; 5 in x",
        "made with files that differ from their commit (-dirty): x",
    }
    assert not any("log_every" in line for line in lines)


def test_settings_that_differ_within_a_group_are_named(tmp_path):
    write_study(tmp_path)
    write_run(tmp_path / "x", config_of(seed=3, optimizer__lr=0.1))
    lines = remarks(tmp_path, ["norm.projector"])
    assert "projector bn: its runs differ in optimizer.lr: 0.4 in 3 runs; 0.1 in x" in lines


def test_runs_that_ended_early(tmp_path):
    for name, seed, collapsed in (("a", 0, True), ("b", 1, False)):
        rows = curves(collapsed=collapsed, steps=range(10, 61, 10))
        write_run(tmp_path / name, config_of(seed=seed), rows=rows)
    ends = {"a stopped at collapse after 2.4 of 4 epochs", "b stopped after 2.4 of 4 epochs"}
    assert ends < set(remarks(tmp_path))


def test_accuracies_that_are_not_comparable(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", config_of(seed=1), top1=None)
    write_run(tmp_path / "c", config_of(seed=2), curves(steps=range(10, 121, 10)), {"steps": 130})
    lines = remarks(tmp_path)
    assert (
        "linear top-1 was measured in different ways: linear_eval.json: logistic, 1000 labels, "
        "200 test images in 2 runs; the probe that ends a run (summary.json) in b"
    ) in lines
    assert "c: linear_eval.json belongs to step 120, the run ended at 130" in lines
    assert "no kNN top-1 in 1 run: b" in lines


def test_finetuning_lacks_only_what_was_asked_for(tmp_path):
    write_few_labels(tmp_path, study=None)
    write_run(tmp_path / "pretrained", top1=None, config=config_of(seed=0))
    lines = remarks(tmp_path)
    assert f"in no run: {unmeasured()}, kNN top-1" in lines
    assert not any(line.startswith("no ") for line in lines)


def test_finetuning_that_ended_early_or_was_scored_otherwise(tmp_path):
    write_finetune(tmp_path / "a", finetune_config(steps=900))
    other = finetune_config(seed=1, steps=900, evaluation__samples=[10])
    write_finetune(tmp_path / "b", other, summary={"ended": "non_finite_loss", "top1": None})
    assert set(remarks(tmp_path)) > {
        "a stopped after 100 of 900 steps",
        "b's loss became non-finite after 100 of 900 steps",
        "no top-1, population in 1 run: b",
    }
    write_finetune(tmp_path / "c", finetune_config(seed=0, steps=900, log_every=3))
    lines = remarks(tmp_path, ["norm.encoder"])
    assert any("differ in evaluation.samples: [1000, 100] in 2 runs" in line for line in lines)
    assert not any("log_every" in line for line in lines)


def test_exact_statistics_of_different_images(tmp_path):
    for seed, samples in enumerate((100, 1000)):
        folder = write_run(tmp_path / str(seed), config_of(seed=seed), top1=None)
        content = {"samples": samples, "views": "train", "batch_size": 250, "evaluations": {}}
        (folder / "population_stats.json").write_text(json.dumps(content))
    assert (
        "exact statistics were computed in different ways: 100 images, train views, "
        "batches of 250 in 1 run; 1000 images, train views, batches of 250 in 1"
    ) in remarks(tmp_path)


def test_values_with_their_runs_and_commands_once(tmp_path):
    write_study(tmp_path)
    write_run(tmp_path / "x", config_of(heads="ln"), environment={"commit": "ff", "command": "a b"})
    runs = runs_in(tmp_path)
    found = provenance(runs)
    assert found["commit"] == "0123456789ab (6 runs); ff (1 run)"
    assert found["hardware"] == "AMD EPYC, 2 threads"
    assert " to " in found["files written"]
    assert commands(runs) == [
        "python tools/pretrain.py -m norm.projector=bn,none seed=0,1",
        "python a b",
        "python tools/linear_eval.py checkpoint=x",
    ]
