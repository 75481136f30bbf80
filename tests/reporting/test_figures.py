import math

import pytest

from ssl_norm.reporting.figures import FIGURES
from ssl_norm.reporting.figures.parts import Curve, band
from ssl_norm.reporting.studies import all_figures, figures_named
from tests.reporting.run_folders import (
    add_probes,
    columns_of,
    curves,
    evaluation_rows,
    groups_in,
    runs_in,
    write_few_labels,
    write_finetune,
    write_run,
    write_study,
)

# The figures that these tests are about; a new figure has its own test.
TESTED = (
    "accuracy_by_statistics",
    "accuracy_over_steps",
    "cosines",
    "accuracy",
    "spectra",
    "probes_over_steps",
    "accuracy_course",
    "layers",
    "calibration",
)


def draw(name, groups):
    return list(FIGURES.load(name)(groups))


def names_in(root):
    return [file.name for file in all_figures(groups_in(root), [], figures_named(TESTED))[0]]


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    return groups_in(write_study(tmp_path_factory.mktemp("study")))


def test_pretraining_runs_have_the_figures_of_their_values(groups):
    figures, remarks = all_figures(groups, [], figures_named(TESTED))
    names = ["cosines", "accuracy", "spectra", "layers_1", "layers_2"]
    assert ([file.name for file in figures], remarks) == (names, [])
    assert "n = 3" in figures[0].caption
    assert "6 of 6 runs" in figures[1].caption
    assert "6 runs in 2 groups" in figures[2].caption
    assert "One run of 3: 000_byol_bn-bn-bn_seed0, seed 0" in figures[3].caption


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_named_after_their_function_and_have_captions(name, groups, tmp_path):
    assert draw(name, []) == []
    function = FIGURES.load(name)
    assert function.__doc__.startswith("Yield ")
    finetuned = groups_in(write_few_labels(tmp_path, study=None))
    files = [*draw(name, groups), *draw(name, finetuned)]
    for file in files:
        assert file.name.startswith(name)
        assert file.caption.endswith(".")
        assert file.figure.axes


def test_cosines_have_a_panel_a_group_with_runs_mean_band_and_steps_of_collapse(groups):
    (file,) = draw("cosines", groups)
    healthy, collapsed = file.figure.axes
    assert healthy.get_title(loc="left") == "heads bn/bn (n = 3)"
    assert len(healthy.collections) == 2  # a band a cosine
    assert len(healthy.lines) == 2 * (3 + 1 + 1)  # runs, mean, entry of the legend
    assert len(collapsed.lines) == 2 * (3 + 1 + 1) + 3
    mean = healthy.lines[3]
    assert mean.get_xdata().tolist() == list(range(10, 101, 10))
    assert mean.get_ydata()[-1] == pytest.approx(0.42)


def test_runs_with_few_values_have_few_figures(tmp_path):
    rows = [{**row, "negative_cosine": float("nan")} for row in curves()]
    folder = write_run(tmp_path / "a", rows=rows, top1=None)
    assert names_in(tmp_path) == ["cosines"]
    add_probes(folder, top1=0.3)
    assert names_in(tmp_path) == ["cosines", "probes_over_steps"]


def test_probes_of_kept_checkpoints_over_the_steps_and_against_the_cosine(tmp_path):
    for place, run in enumerate(runs_in(write_study(tmp_path))):
        add_probes(run.folder, top1=0.3 + 0.1 * place)
    groups = groups_in(tmp_path)
    (over_steps,), (course,) = draw("probes_over_steps", groups), draw("accuracy_course", groups)
    assert (over_steps.name, course.name) == ("probes_over_steps", "accuracy_course")
    panel = over_steps.figure.axes[0]
    assert panel.lines[0].get_xdata().tolist() == [0, 45, 100]
    assert panel.lines[3].get_ydata().tolist() == pytest.approx([0.4, 0.445, 0.5])  # the mean
    lines = [line for line in course.figure.axes[0].lines if line.get_linestyle() == "-"]
    assert len(lines) == 6
    logged = {row["step"]: row["negative_cosine"] for row in curves(seed=0)}
    assert list(lines[0].get_xdata()) == pytest.approx([logged[40], logged[100]])  # none at step 0
    assert list(lines[0].get_ydata()) == pytest.approx([0.345, 0.4])
    assert "6 runs" in course.caption
    assert "Probe: logistic, 1000 labels, 200 test images." in over_steps.caption


def test_only_probed_runs_count_and_different_probes_are_named(tmp_path):
    first, _, third = runs_in(write_study(tmp_path))[:3]
    add_probes(first.folder, top1=0.3)
    add_probes(third.folder, top1=0.4, labels=100)
    groups = groups_in(tmp_path)
    (over_steps,), (course,) = draw("probes_over_steps", groups), draw("accuracy_course", groups)
    assert over_steps.figure.axes[0].get_title(loc="left") == "heads bn/bn (n = 2)"
    probes = "Probes differ: logistic, 100 labels, 200 test images; logistic, 1000 labels"
    assert probes in over_steps.caption
    assert probes in course.caption


def test_finetuning_has_accuracy_by_statistics_and_over_the_steps(tmp_path):
    (dots, over_steps), _ = all_figures(
        groups_in(write_few_labels(tmp_path, study=None)), [], figures_named(TESTED)
    )
    assert (dots.name, over_steps.name) == ("accuracy_by_statistics", "accuracy_over_steps")
    assert "18 runs, n = 3 per point" in dots.caption
    assert list(columns_of(dots.table)) == ["group", "population", "exact", "batch"]
    means = [bars[0].get_ydata().tolist() for bars in dots.figure.axes[0].containers]
    assert [values[0] for values in means] == pytest.approx([0.4, 0.45, 0.3])  # bn, 10 labels
    write_run(tmp_path / "pretrained", top1=None)
    pretraining = ["cosines", "accuracy"]
    assert names_in(tmp_path) == ["accuracy_by_statistics", "accuracy_over_steps", *pretraining]
    panels = [axes for axes in over_steps.figure.axes if axes.get_visible()]
    assert len(panels) == 6
    assert panels[0].lines[3].get_ydata().tolist() == pytest.approx([0.2, 0.4])


def test_finetuning_with_one_score_has_no_curves_and_without_any_no_figure(tmp_path):
    write_finetune(tmp_path / "a", rows=evaluation_rows(0.5, steps=(100,)))
    assert names_in(tmp_path) == ["accuracy_by_statistics"]
    nothing = dict.fromkeys(("top1", "top1_exact", "top1_batch"))
    write_finetune(tmp_path / "b", rows=[], summary=nothing)
    assert names_in(tmp_path / "b") == []


def test_a_band_is_of_common_steps_with_finite_values_and_nothing_is_interpolated():
    rows = [Curve([10, 20, 30, 40, 60], [1, 2, 3, 4, 6]), Curve([15, 30, 45, 60], [0, 5, 0, 8])]
    found = band([*rows, Curve([30, 60, 90], [7, 10, 0])])
    assert (found.steps, found.mean) == ([30, 60], [5, 8])
    assert (found.low, found.high) == (pytest.approx([3, 6]), pytest.approx([7, 10]))
    two = band([Curve([1, 2, 3], [0, math.nan, 4]), Curve([1, 2, 3], [2, 1, 1])])
    assert (two.steps, two.low, two.high) == ([1, 3], [0, 1], [2, 4])  # their range
    assert band(rows[:1]) is None
    assert band([Curve([1, 3], [0, 1]), Curve([2, 4], [2, 1])]) is None
    assert band([Curve([1, 2], [0, math.nan]), Curve([1, 2], [2, 1])]) is None
