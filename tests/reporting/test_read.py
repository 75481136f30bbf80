import math

import pytest

from ssl_norm.reporting.read import BROKEN, FINISHED, UNFINISHED, find_runs, read_run, read_runs
from tests.reporting.run_folders import (
    add_layers,
    add_spectra,
    curves,
    finetune_config,
    write_finetune,
    write_run,
)


def test_a_finished_run_of_an_old_kind(tmp_path):
    run = read_run(write_run(tmp_path / "a"), "a")
    assert (run.state, run.reason, run.seed) == (FINISHED, "", 0)
    assert run.metrics["step"] == list(range(10, 101, 10))
    assert "verdict" not in run.metrics
    assert run.summary["verdict"] == "healthy"
    assert run.evaluation["top1"] == 0.9
    assert "environment" not in run.config
    assert run.environment["commit"] == "0123456789ab"
    assert (list(run.spectra), list(run.layers)) == ([], [])
    assert run.dates[0] <= run.dates[1]


def test_spectra_and_layers(tmp_path):
    folder = write_run(tmp_path)
    add_spectra(folder, dimensions=4)
    add_layers(folder)
    run = read_run(folder, "a")
    assert [(step, len(values)) for step, values in run.spectra] == [(20, 4), (60, 4), (100, 4)]
    assert run.layers[0]["layer"] == "encoder.layer1"


def test_a_run_of_finetuning(tmp_path):
    run = read_run(write_finetune(tmp_path), "a")
    assert (run.state, run.tool, run.seed) == (FINISHED, "finetune", 0)
    assert run.summary["top1_exact"] == pytest.approx(0.55)
    assert run.metrics["train_top1"] == [0.9] * 5
    assert len(run.evaluations) == 7
    first = run.evaluations[0]
    assert (first["step"], first["statistics"], first["statistics_from"]) == (50, "population", "")
    assert first["top1"] == pytest.approx(0.25)


def test_a_last_line_cut_short_is_left_out_and_an_empty_cell_is_nan(tmp_path):
    folder = write_run(tmp_path, rows=[{**row, "rank_me": ""} for row in curves()])
    with (folder / "metrics.csv").open("a") as file:
        file.write("110,4.4,1.")
    run = read_run(folder, "a")
    assert run.state == FINISHED
    assert run.metrics["step"][-1] == 100
    assert all(math.isnan(value) for value in run.metrics["rank_me"])


UNFINISHED_RUNS = {
    "step 100, 4.0 of 4 epochs, last row of ": lambda f: write_run(f, summary=False),
    "no row in metrics.csv, no": lambda f: write_run(f, rows=[], summary=False, top1=None),
    "a summary.json of an earlier step": lambda f: write_run(f, summary={"steps": 50}),
    "step 100 of 900, last row of ": lambda f: write_finetune(
        f, finetune_config(steps=900), summary=False
    ),
}


@pytest.mark.parametrize("far", UNFINISHED_RUNS)
def test_an_unfinished_run_reports_its_progress(tmp_path, far):
    run = read_run(UNFINISHED_RUNS[far](tmp_path), "a")
    assert run.state == UNFINISHED
    assert run.reason.startswith("running or interrupted: ")
    assert far in run.reason


BREAKAGES = {
    "config.yaml": {
        None: "there is no config.yaml",
        "a: [": "config.yaml cannot be read: ",
        "[]": "config.yaml has neither method nor labels",
        "{method: {}, environment: 3}": "config.yaml: environment: Input should be a valid dict",
        "{method: {}, norm: bn}": "config.yaml: norm: Input should be a valid dictionary, got bn",
    },
    "summary.json": {
        "{": "summary.json cannot be read: Expecting",
        "{}": "summary.json: steps: Field required, got nothing",
        '{"steps": "9"}': "summary.json: steps: Input should be a valid integer, got 9",
    },
    "linear_eval_steps.json": {
        "[]": "linear_eval_steps.json holds no object",
        '{"steps": {}}': "linear_eval_steps.json: steps: Input should be a valid list, got {}",
        '{"steps": [3]}': "linear_eval_steps.json: steps.0: Input should be a valid dictionary, got 3",
        '{"steps": [{"step": 1}, {"top1": 1}]}': "steps.1.step: Field required, got nothing",
    },
    "metrics.csv": {
        "step,loss\n10,x\n": "metrics.csv: 'x' in column loss is not a number",
        "step,loss\n10,1,2\n": "metrics.csv: a row does not fit the columns",
    },
    "spectra.csv": {"step,1\n,1\n": "spectra.csv: '' in column step is not a number"},
    "evaluations.csv": {
        "step,statistics,top1\n1,exact,x\n": "evaluations.csv: 'x' in column top1 is not a number",
    },
    "population_stats.json": {
        "[]": "population_stats.json holds no object",
        '{"evaluations": {"exact": 3}}': "evaluations.exact: Input should be a valid dictionary, got 3",
    },
}


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [(name, text, reason) for name, cases in BREAKAGES.items() for text, reason in cases.items()],
)
def test_a_broken_run_names_the_file(tmp_path, name, text, reason):
    file = write_run(tmp_path) / name
    file.unlink() if text is None else file.write_text(text, errors="surrogateescape")
    run = read_run(tmp_path, "a")
    assert run.state == BROKEN
    assert reason in run.reason
    assert "\n" not in run.reason


def test_runs_are_found_at_any_depth_once_each_and_never_in_hidden_folders(tmp_path):
    for name in ("b", "a/deep/1", "a/.hidden/2"):
        write_run(tmp_path / name)
    (tmp_path / "a" / "round").symlink_to(tmp_path, target_is_directory=True)
    found = find_runs([tmp_path, tmp_path / "b"])
    assert {folder.resolve() for folder in found} == {tmp_path / "a/deep/1", tmp_path / "b"}
    assert {run.name for run in read_runs(found)} == {"a/deep/1", "b"}
    assert [run.name for run in read_runs([tmp_path / "b"])] == ["b"]
