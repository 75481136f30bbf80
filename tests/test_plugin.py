"""Installation and use of the example package examples/plugin."""

import contextlib
import csv
import json
import os
import re
from pathlib import Path
from zipfile import ZipFile

import pytest
from hatchling.build import build_wheel

from ssl_norm.norms.kernels.native_build import SWITCH
from tests import warm

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
PLUGIN = ROOT / "examples" / "plugin"


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """Install the wheel, and return the folder and the output of a session that uses it."""
    place, folder = tmp_path_factory.mktemp("installed"), tmp_path_factory.mktemp("work")
    with contextlib.chdir(PLUGIN):
        wheel = place / build_wheel(str(place))
    ZipFile(wheel).extractall(place)
    environment = os.environ | {
        "PYTHONPATH": f"{place}{os.pathsep}{ROOT}",
        "XDG_CACHE_HOME": str(folder / "cache"),
        SWITCH: "0",
        "COLUMNS": "200",
    }
    done = warm.run([ROOT / "tests" / "plugin_session.py"], cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


@pytest.fixture(scope="module")
def output(session):
    """Return the output of each command."""
    return {name: text for name, (_, text) in session[1]["commands"].items()}


def rows(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_exit_codes(session):
    for name, (code, text) in session[1]["commands"].items():
        assert code == (2 if name.endswith("typo") else 0), (name, text)


def test_help_has_the_names_from_outside(output):
    groups = dict(re.findall(r"^  (\w+) = (.*)$", output["help"], re.MULTILINE))
    for group, name in (("method", "simsiam"), ("data", "shapes"), ("encoder", "two_convs")):
        assert name in groups[group].split(" | ")
    assert "keys of method=simsiam" in output["help"]
    assert "method.predictor.layers" in output["help"].partition("keys of method=simsiam")[2]


@pytest.mark.parametrize(
    ("command", "nearest"),
    [
        ("method typo", "simsiam"),
        ("data typo", "shapes"),
        ("data key typo", "images"),
        ("encoder typo", "two_convs"),
        ("norm typo", "mean_only"),
        ("augmentation typo", "posterize"),
        ("logger typo", "json_lines"),
    ],
)
def test_nearest_match_of_a_name_from_outside(output, command, nearest):
    (line,) = output[command].splitlines()
    assert line.endswith(f"did you mean '{nearest}'?")


@pytest.mark.parametrize("run", ["named", "referred", "python0", "python1"])
def test_a_run_has_a_column_of_the_monitor(session, run):
    column = [float(row["vendi_score"]) for row in rows(session[0] / "runs" / run / "metrics.csv")]
    assert all(1 <= value <= 72 for value in column)


def test_a_run_goes_on_with_its_parts(session):
    run = session[0] / "runs" / "named"
    assert [row["step"] for row in rows(run / "metrics.csv")] == ["1", "2", "3", "4"]
    lines = [json.loads(line)["step"] for line in (run / "rows.jsonl").read_text().splitlines()]
    assert lines == [1, 2, 3, 4, 3, 4]


def test_checkpoints_are_evaluated_with_their_parts(session):
    run = session[0] / "runs" / "named"
    assert 0 <= json.loads((run / "linear_eval.json").read_text())["top1"] <= 1
    diagnosis = json.loads((run / "diagnosis.json").read_text())
    assert diagnosis["projections"]["vendi_score"] >= 1


def test_a_report_has_the_monitor_and_the_figure(session):
    assert "Vendi score" in (session[0] / "report" / "table.md").read_text()
    assert (session[0] / "report" / "rank_over_steps.png").is_file()


def test_a_classifier_is_scored_under_the_corruption(session):
    scored = rows(session[0] / "runs" / "classifier" / "evaluations.csv")
    assert "occlude:5" in {row["domain"] for row in scored}


def test_own_yaml_files(output):
    assert "method.projector.norm_output=true" in output["config-dir help"]
    for command in ("config-dir", "searchpath"):
        for line in ("images: 128", "small_images: true", "norm_output: true", "solarize: 0.2"):
            assert line in output[command]


def test_python_takes_registered_names_and_objects(session):
    named, objects = session[1]["python"].values()
    assert "encoder: mine" in named
    for name in ("simsiam:SimSiam", "shapes:load_shapes", "two_convs:TwoConvs"):
        assert f"name: ssl_norm_example.{name}" in objects
    for name in ("json_lines:JsonLines", "posterize:Posterize"):
        assert f"- ssl_norm_example.{name}" in objects
    assert objects.count("ssl_norm_example.mean_only_batch_norm:MeanOnlyBatchNorm") == 2


def test_entry_points_name_every_module():
    text = (PLUGIN / "pyproject.toml").read_text()
    named = set(re.findall(r'"ssl_norm_example\.(\w+):', text))
    assert named == {path.stem for path in (PLUGIN / "ssl_norm_example").glob("[!_]*.py")}
