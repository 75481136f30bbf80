import json

import pytest

from ssl_norm.report.checkpoint_curves import course_figures
from ssl_norm.report.grouping import group_keys, group_runs
from ssl_norm.report.read import find_runs, read_runs
from tests.report.run_folders import curves, write_run, write_study

STEPS = (0, 45, 100)


def add_probes(folder, top1, labels=1000):
    rows = [{"step": step, "top1": top1 + step / 1000, "knn_top1": top1 - 0.1} for step in STEPS]
    course = {"steps": rows, "protocol": "logistic", "labels": labels, "test_images": 200}
    (folder / "linear_eval_steps.json").write_text(json.dumps(course))


def figures_of(root):
    runs = read_runs(find_runs([root]))
    return list(course_figures(group_runs(runs, group_keys(runs, None))))


def test_accuracies_over_the_steps_and_against_the_cosine(tmp_path):
    root = write_study(tmp_path)
    folders = find_runs([root])
    for place, folder in enumerate(folders):
        add_probes(folder, top1=0.3 + 0.1 * place)
    over_steps, course = figures_of(root)
    assert (over_steps.name, course.name) == ("probes_over_steps", "accuracy_course")
    panel = over_steps.figure.axes[0]
    assert panel.lines[0].get_xdata().tolist() == list(STEPS)
    assert panel.lines[3].get_ydata().tolist() == pytest.approx([0.4, 0.445, 0.5])  # the mean
    (axes,) = course.figure.axes
    lines = [line for line in axes.lines if line.get_linestyle() == "-"]
    assert len(lines) == len(folders)
    logged = {row["step"]: row["negative_cosine"] for row in curves(seed=0)}
    assert list(lines[0].get_xdata()) == pytest.approx([logged[40], logged[100]])  # none at step 0
    assert list(lines[0].get_ydata()) == pytest.approx([0.345, 0.4])
    assert "6 runs" in course.caption
    assert "Probe: logistic, 1000 labels, 200 test images." in over_steps.caption


def test_only_probed_runs_count_and_different_probes_are_named(tmp_path):
    first, _, third = find_runs([write_study(tmp_path)])[:3]
    add_probes(first, top1=0.3)
    add_probes(third, top1=0.4, labels=100)
    over_steps, course = figures_of(tmp_path)
    assert over_steps.figure.axes[0].get_title(loc="left") == "heads bn/bn (n = 2)"
    words = "Probes differ: logistic, 100 labels, 200 test images; logistic, 1000 labels"
    assert words in over_steps.caption
    assert words in course.caption


def test_runs_without_probes_or_cosines(tmp_path):
    write_run(tmp_path / "a")
    assert figures_of(tmp_path) == []
    rows = [{**row, "negative_cosine": float("nan")} for row in curves()]
    add_probes(write_run(tmp_path / "b", rows=rows), top1=0.3)
    assert [drawing.name for drawing in figures_of(tmp_path)] == ["probes_over_steps"]
